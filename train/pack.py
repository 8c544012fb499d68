"""A GGUF file that export.py wrote, made small enough to travel: 69 levels instead of 255 in each block of 32, and packed.

    python pack.py pack ds4-mini.gguf state.xz          python pack.py unpack state.xz DIR     (DIR/full.pt for train.py)"""
import lzma
import pathlib
import pickle
import sys

import numpy as np

import export

LEVELS = 34


def pack(source, out):
    data = open(source, "rb").read()
    kept = {}
    for name, (dims, kind, offset) in export.parse(data)[1].items():
        size = int(np.prod(dims))
        if kind == export.T_Q8_0:
            raw = np.frombuffer(data, export.Q8_0_BLOCK, size // 32, offset)
            kept[name] = (np.rint(raw["q"] * (LEVELS / 127)).astype(np.int8), raw["d"])
        else:
            kept[name] = np.frombuffer(data, export.PLAIN[kind], size, offset)
    pathlib.Path(out).write_bytes(lzma.compress(pickle.dumps(kept), filters=[{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 0, "lp": 0, "pb": 0}]))


def unpack(source, directory):
    import torch
    import network
    kept = pickle.loads(lzma.decompress(pathlib.Path(source).read_bytes()))
    c = network.Config()
    sd = {k: v.numpy().copy() for k, v in network.Network(c).state_dict().items()}
    for name, array, kind in export.tensors(c, sd):  # views of sd's arrays
        x = kept[name]
        if kind == export.T_Q8_0:
            x = x[0].astype(np.float32) * (x[1].astype(np.float32) * (127 / LEVELS))[:, None]
        array[...] = np.asarray(x).reshape(array.shape)
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    torch.save({"model": {k: torch.from_numpy(v) for k, v in sd.items()}, "progress": {"seconds": 0.0, "step": 0, "tokens": 0}}, pathlib.Path(directory) / "full.pt")


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
