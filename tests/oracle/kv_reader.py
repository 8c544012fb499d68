"""A second, slow reader of the store's files, written from docs/formats/kv-store.md alone.

    python3 kv_reader.py DIR     checks every object and prints a line for each; exit 1 if one is bad
"""
import hashlib
import pathlib
import struct
import sys

import numpy as np
import xxhash

TOKENS, CHAIN, STATS = 1, 13, 16
PACKED = 2  # codec of rows


def digest(data):
    return xxhash.xxh3_128(data).digest()


class Bad(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Bad(what)


def need_finite(kind, tops, scales):
    """The largest code of each block, times its scale, is below 2^128: that is finite in f32, for it has few bits."""
    need((np.ldexp(tops, scales.reshape(-1).astype("i4") - 127) < 2.0**128).all(), f"section {kind}: overflow")


def store_secret(folder):
    data = (folder / "STORE").read_bytes()
    need(len(data) == 4096 and data[:8] == bytes.fromhex("8944533453540d0a"), "STORE: magic")
    need(digest(data[:4080]) == data[4080:], "STORE: digest")
    return hashlib.blake2b(b"ns", digest_size=32, key=data[56:88]).digest()


class Object:
    def __init__(self, path):
        self.path, data = path, path.read_bytes()
        need(len(data) >= 4096 and data[:8] == bytes.fromhex("894453344b560d0a"), "magic")
        need(struct.unpack_from("<H", data, 8)[0] == 1, "major")
        need(digest(data[:4080]) == data[4080:4096], "header digest")
        self.kind, self.flags, header, n, size = struct.unpack_from("<HHIIQ", data, 12)
        need(header == 4096 and size == len(data) and 1 <= n <= 60, "sizes")
        self.fingerprint, self.key, self.parent = data[32:64], data[64:96], data[96:128]
        self.begin, self.end, self.n = struct.unpack_from("<QQI", data, 128)
        need(path.name == self.key.hex() + {1: ".s", 2: ".f"}[self.kind], "name")
        need(path.parent.name == self.key.hex()[:2], "folder")
        need(not any(data[3136:3160]) and not any(data[3168:4080]), "reserved bytes")
        self.sections, at, last, digests = {}, 4096, 0, b""
        for i in range(n):
            kind, arg, offset, stored, raw = struct.unpack_from("<IIQQQ", data, 256 + 48 * i)
            want = data[256 + 48 * i + 32:256 + 48 * i + 48]
            need(kind > last and arg == 0 and offset == at and stored == raw > 0, f"section {kind}")
            need(digest(data[offset:offset + stored]) == want, f"section {kind}: digest")
            self.sections[kind], last, digests = data[offset:offset + stored], kind, digests + want
            at += -(-stored // 4096) * 4096
        need(at == len(data), "size of all sections")
        self.digest = data[240:256]
        need(digest(digests) == self.digest, "payload digest")
        self.codecs = dict(zip((3, 4, 5, 6), struct.unpack_from("<4H", data, 148)))
        width, rotated, index = struct.unpack_from("<3I", data, 176)
        for kind, body in self.sections.items():
            if kind in (TOKENS, CHAIN):
                continue
            if self.codecs.get(kind, 0) == PACKED:
                self.check_packed(kind, np.frombuffer(body, "u1"), width, rotated, index)
            else:
                need(np.isfinite(np.frombuffer(body, "<f4")).all(), f"section {kind}: not finite")
        self.check_stats(*struct.unpack_from("<3I", data, 160))
        self.tokens = self.sections.get(TOKENS, b"")
        need(len(self.tokens) == 4 * (self.end - self.begin), "tokens")

    def check_packed(self, kind, body, width, rotated, index):
        """Codec 2: rows of E4M3 codes, E8M0 scales and bf16 tails; of the indexer E2M1 codes and E8M0 scales."""
        plain = width - rotated
        scales = -(-(plain // 64) // 8) * 8
        size = index // 2 + index // 32 if kind == 4 else plain + scales + 2 * rotated
        need(len(body) % size == 0, f"section {kind}: rows of {size} bytes")
        rows = body.reshape(-1, size)
        if kind == 4:
            codes = np.concatenate([rows[:, :index // 2] & 15, rows[:, :index // 2] >> 4], 1)
            need(not (codes == 8).any() and not (rows[:, index // 2:] == 255).any(), "section 4: codes")
            pairs = rows[:, :index // 2].reshape(-1, 16)
            tops = np.array([0, .5, 1, 1.5, 2, 3, 4, 6])[np.maximum(pairs & 7, pairs >> 4 & 7).max(1)]
            need_finite(kind, tops, rows[:, index // 2:])
            return
        need(not ((rows[:, :plain] & 127) == 127).any(), f"section {kind}: codes")
        need(not (rows[:, plain:plain + plain // 64] == 255).any(), f"section {kind}: scales")
        tops = (rows[:, :plain] & 127).reshape(-1, 64).max(1).astype("i4")
        tops = np.where(tops < 8, tops / 512, np.ldexp(1 + tops % 8 / 8, tops // 8 - 7))
        need_finite(kind, tops, rows[:, plain:plain + plain // 64])
        need(not rows[:, plain + plain // 64:plain + scales].any(), f"section {kind}: padding")
        tail = np.ascontiguousarray(rows[:, plain + scales:]).view("<u2").astype("u4") << 16
        need(np.isfinite(tail.view("f4")).all(), f"section {kind}: not finite")

    def check_stats(self, n_layers, n_csa, n_hca):
        have, at = np.frombuffer(self.sections.get(STATS, b""), "<f4").reshape(-1, 2), 0
        for kind in range(3, 6 if self.kind == 1 else 12):
            if self.codecs.get(kind, 0) == PACKED:
                continue
            values = np.frombuffer(self.sections.get(kind, b""), "<f4").astype(np.float64)
            groups = {5: n_hca, 6: n_layers, 9: n_hca}.get(kind, n_csa)
            for g in range(groups):
                part = values[-(-g * len(values) // groups):-(-(g + 1) * len(values) // groups)]
                want = (np.abs(part).max(), (part ** 2).mean()) if len(part) else (0, 0)
                need(at < len(have) and np.allclose(have[at], want, rtol=0.01, atol=0), f"section {kind}: statistics")
                at += 1
        need(at == len(have), "statistics of nothing")


def check(folder):
    """Objects by key; raises Bad with the file's name."""
    secret, objects = store_secret(folder), {}
    keyed = lambda *parts: hashlib.blake2b(b"".join(parts), digest_size=32, key=secret).digest()
    for path in sorted(folder.glob("o/??/*")):
        try:
            objects[path.name] = o = Object(path)
            word = b"seg" if o.kind == 1 else b"frn"
            need(keyed(word, o.parent, o.tokens) == o.key, "key is not that of its tokens")
            if o.begin == 0:
                need(keyed(b"ds4kv root", o.fingerprint, struct.pack("<I", o.n)) == o.parent, "root")
            if o.kind == 1:
                need(o.end - o.begin == o.n and o.begin % o.n == 0, "range")
            else:
                need(o.begin % o.n == 0 and o.end - o.begin < o.n, "range")
        except Bad as e:
            raise Bad(f"{path.name}: {e}") from None
    for o in objects.values():
        if o.kind == 2:
            chain = o.sections.get(CHAIN, b"")
            need(len(chain) == 48 * (o.begin // o.n), f"{o.path.name}: chain")
            for i in range(0, len(chain), 48):
                segment = objects.get(chain[i:i + 32].hex() + ".s")
                need(segment is None or segment.digest == chain[i + 32:i + 48], f"{o.path.name}: chain entry {i // 48}")
            need(not chain or chain[-48:-16] == o.parent, f"{o.path.name}: stem")
    return objects


if __name__ == "__main__":
    try:
        for name, o in check(pathlib.Path(sys.argv[1])).items():
            print(f"{name[:12]}{name[-2:]} tokens {o.begin}..{o.end} sections {sorted(o.sections)} {o.path.stat().st_size} bytes")
    except Bad as e:
        print("bad:", e)
        sys.exit(1)
