"""Tiny V4 models with random weights, each made to catch one kind of mistake. The presets are
the table of docs/spec/model.md, section 15."""
import struct

import numpy as np

COMMON = dict(layers=4, d=64, vocab=288, heads=4, D=32, R=8, q=32, o=16, groups=2, window=16, ratios=[0, 4, 8, 4], HI=16, I=16,
              top=64, experts=8, used=3, f=32, hashed=2, scale=1.5, clamp=1.5, streams=4, sinkhorn=20, factor=16.0, original=65536,
              fast=32.0, slow=1.0, draft=False, n=41)

PRESETS = {
    "swa": dict(layers=2, ratios=[0, 0], hashed=0, n=40),
    "csa": dict(layers=2, ratios=[4, 4], hashed=0, n=43),
    "hca": dict(layers=2, ratios=[8, 8], hashed=0, n=45),
    "mixed": dict(draft=True, n=77),
    "topk": dict(layers=3, ratios=[4, 8, 4], top=3, hashed=1, n=83),
    "window": dict(window=5, layers=3, ratios=[0, 4, 8], hashed=1, top=5, n=38),
    "yarn": dict(layers=3, ratios=[4, 0, 8], hashed=0, R=16, factor=4.0, original=64, fast=8.0, n=70),
    "odd": dict(layers=3, d=36, vocab=293, heads=6, D=24, R=6, q=22, o=10, groups=3, window=7, ratios=[0, 4, 6], HI=13, I=14, top=4,
                experts=7, used=2, f=20, hashed=1, streams=3, sinkhorn=5, scale=2.5, n=53),
    "deep128": dict(layers=5, ratios=[0, 0, 4, 128, 4], hashed=3, window=128, top=62, n=262),
    "rounding": dict(layers=3, d=128, D=192, R=64, I=128, HI=8, heads=2, ratios=[0, 4, 8], hashed=1, top=6, n=49),
}


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def entry(key, value):
    kinds = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        if isinstance(value[0], str):
            return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(v) for v in value)
        kind, form = (5, "<i") if isinstance(value[0], int) else kinds[float]
        return text(key) + struct.pack("<IIQ", 9, kind, len(value)) + b"".join(struct.pack(form, v) for v in value)
    kind, form = kinds[type(value)]
    return text(key) + struct.pack("<I", kind) + struct.pack(form, value)


def alphabet():
    """The printable stand-ins of the 256 bytes."""
    plain = [b for b in range(256) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or b >= 0xae]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(0x100 + rest.index(b)) for b in range(256)]


def metadata(c):
    names = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
             "<\uff5cAssistant\uff5c>", "<think>", "</think>", "\uff5cDSML\uff5c"]
    tokens = names + alphabet() + ["he"]
    tokens += [f"<unused{i}>" for i in range(c["vocab"] - len(tokens))]
    kinds = [3] * len(names) + [1] * 257 + [5] * (c["vocab"] - len(names) - 257)
    p, a = "deepseek4.", "deepseek4.attention."
    return {"general.architecture": "deepseek4", "general.name": "tiny", p + "block_count": c["layers"], p + "context_length": 4096,
            p + "embedding_length": c["d"], p + "vocab_size": c["vocab"], a + "head_count": c["heads"], a + "head_count_kv": 1,
            a + "key_length": c["D"], a + "value_length": c["D"], a + "q_lora_rank": c["q"], a + "output_lora_rank": c["o"],
            a + "output_group_count": c["groups"], a + "sliding_window": c["window"], a + "layer_norm_rms_epsilon": 1e-6,
            a + "compress_ratios": c["ratios"], a + "compress_rope_freq_base": 160000.0, a + "indexer.head_count": c["HI"],
            a + "indexer.key_length": c["I"], a + "indexer.top_k": c["top"], p + "rope.dimension_count": c["R"],
            p + "rope.freq_base": 10000.0, p + "rope.scaling.type": "yarn", p + "rope.scaling.factor": c["factor"],
            p + "rope.scaling.original_context_length": c["original"], p + "rope.scaling.yarn_beta_fast": c["fast"],
            p + "rope.scaling.yarn_beta_slow": c["slow"], p + "expert_count": c["experts"], p + "expert_used_count": c["used"],
            p + "expert_shared_count": 1, p + "expert_feed_forward_length": c["f"], p + "expert_weights_scale": c["scale"],
            p + "expert_weights_norm": True, p + "expert_gating_func": 4, p + "hash_layer_count": c["hashed"],
            p + "swiglu_clamp_exp": [c["clamp"]] * c["layers"], p + "hyper_connection.count": c["streams"],
            p + "hyper_connection.sinkhorn_iterations": c["sinkhorn"], p + "hyper_connection.epsilon": 1e-6,
            p + "nextn_predict_layers": int(c["draft"]), "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "joyai-llm",
            "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": ["h e"]}


def weights(c, dice):
    """{name: array}: values of a size at which every part of the network matters."""
    d, D, m = c["d"], c["D"], c["streams"]
    out = {}

    def matrix(name, *shape, gain=1.0):
        out[name] = (gain * dice.standard_normal(shape) / np.sqrt(shape[-1])).astype("<f4")

    def vector(name, *shape, mean=0.0, spread=1.0):
        out[name] = (mean + spread * dice.standard_normal(shape)).astype("<f4")

    def hyper(stem, n, scales):
        matrix(stem + "_fn.weight", n, m * d)
        vector(stem + "_base.weight", n, spread=0.5)
        vector(stem + "_scale.weight", scales, mean=1, spread=0.3)

    def compressor(stem, ratio, width):
        wide = width * (2 if ratio == 4 else 1)
        matrix(stem + "_kv.weight", wide, d)
        matrix(stem + "_gate.weight", wide, d)
        vector(stem + "_ape.weight", ratio, wide, spread=0.7)
        vector(stem + "_norm.weight", width, mean=1, spread=0.2)

    def layer(p, ratio, hashed):
        hyper(p + "hc_attn", (2 + m) * m, 3)
        hyper(p + "hc_ffn", (2 + m) * m, 3)
        vector(p + "attn_norm.weight", d, mean=1, spread=0.2)
        matrix(p + "attn_q_a.weight", c["q"], d)
        vector(p + "attn_q_a_norm.weight", c["q"], mean=1, spread=0.2)
        matrix(p + "attn_q_b.weight", c["heads"] * D, c["q"])
        matrix(p + "attn_kv.weight", D, d)
        vector(p + "attn_kv_a_norm.weight", D, mean=1, spread=0.2)
        vector(p + "attn_sinks.weight", c["heads"])
        matrix(p + "attn_output_a.weight", c["groups"] * c["o"], c["heads"] * D // c["groups"])
        matrix(p + "attn_output_b.weight", d, c["groups"] * c["o"])
        if ratio:
            compressor(p + "attn_compressor", ratio, D)
        if ratio == 4:
            matrix(p + "indexer.attn_q_b.weight", c["HI"] * c["I"], c["q"])
            matrix(p + "indexer.proj.weight", c["HI"], d)
            compressor(p + "indexer_compressor", ratio, c["I"])
        vector(p + "ffn_norm.weight", d, mean=1, spread=0.2)
        matrix(p + "ffn_gate_inp.weight", c["experts"], d)
        if hashed:
            table = dice.random((c["vocab"], c["experts"])).argsort(1)[:, :c["used"]]
            out[p + "ffn_gate_tid2eid.weight"] = table.astype("<i4")
        else:
            vector(p + "exp_probs_b.bias", c["experts"], spread=0.3)
        for kind, shape, shared in (("gate", (c["f"], d), 1.5), ("up", (c["f"], d), 1.5), ("down", (d, c["f"]), 1.0)):
            matrix(p + f"ffn_{kind}_exps.weight", c["experts"], *shape, gain=shared)
            matrix(p + f"ffn_{kind}_shexp.weight", *shape, gain=shared)

    vector("token_embd.weight", c["vocab"], d)
    vector("output_norm.weight", d, mean=1, spread=0.2)
    matrix("output.weight", c["vocab"], d)
    hyper("output_hc", m, 1)
    for i, ratio in enumerate(c["ratios"]):
        layer(f"blk.{i}.", ratio, i < c["hashed"])
    if c["draft"]:
        layer("mtp.0.", 0, False)
        matrix("mtp.0.e_proj.weight", d, d)
        matrix("mtp.0.h_proj.weight", d, d)
        for name in ("enorm", "hnorm", "norm"):
            vector(f"mtp.0.{name}.weight", d, mean=1, spread=0.2)
        hyper("mtp.0.hc_head", m, 1)
    return out


def write(path, preset, seed):
    """Writes the model; returns its settings and a source of prompts, each a list of n tokens."""
    c = dict(COMMON, **PRESETS[preset])
    dice = np.random.default_rng([seed, sum(map(ord, preset))])
    values, tensors = metadata(c), weights(c, dice)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(entry(k, v) for k, v in values.items())
    at = 0
    for name, x in tensors.items():
        head += text(name) + struct.pack("<I", x.ndim) + struct.pack(f"<{x.ndim}Q", *x.shape[::-1])
        head += struct.pack("<IQ", 26 if x.dtype == np.dtype("<i4") else 0, at)
        at += -(-x.nbytes // 32) * 32
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for x in tensors.values():
            f.write(x.tobytes() + bytes(-x.nbytes % 32))
    return c, lambda: dice.integers(0, c["vocab"], c["n"]).tolist()
