"""From a training checkpoint to models/ds4-mini.gguf: names, order of dimensions, and Q8_0 for the matrices.

    python export.py STATE-DIRECTORY vocabulary.json ds4-mini.gguf"""
import argparse
import struct

import numpy as np

U32, I32, F32, BOOL, STR, ARR = 4, 5, 6, 7, 8, 9
T_F32, T_F16, T_Q8_0, T_I32 = 0, 1, 8, 26
PLAIN = {T_F32: "<f4", T_F16: "<f2", T_I32: "<i4"}
Q8_0_BLOCK = np.dtype([("d", "<f2"), ("q", "i1", 32)])


def _str(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind, v):
    return _str(v) if kind == STR else struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, value, element=None):
    if kind == ARR:
        return _str(key) + struct.pack("<IIQ", kind, element, len(value)) + b"".join(_value(element, v) for v in value)
    return _str(key) + struct.pack("<I", kind) + _value(kind, value)


def metadata(c, tok):
    A, E = "deepseek4.", "deepseek4.attention."
    out = [entry("general.architecture", STR, "deepseek4"), entry("general.name", STR, "ds4-mini"),
           entry("general.license", STR, "MIT"), entry("general.file_type", U32, 7),
           entry("general.quantization_version", U32, 2), entry("general.alignment", U32, 32)]
    for key, value in [("block_count", c.n_layer), ("context_length", c.n_ctx), ("embedding_length", c.n_embd),
                       ("vocab_size", c.n_vocab), ("rope.dimension_count", c.n_rot), ("expert_count", c.n_expert),
                       ("expert_used_count", c.n_used), ("expert_shared_count", 1),
                       ("expert_feed_forward_length", c.n_ff), ("expert_gating_func", 4), ("hash_layer_count", c.n_hash),
                       ("hyper_connection.count", c.n_hc), ("hyper_connection.sinkhorn_iterations", c.sinkhorn),
                       ("nextn_predict_layers", c.n_mtp)]:
        out.append(entry(A + key, U32, value))
    for key, value in [("head_count", c.n_head), ("head_count_kv", 1), ("key_length", c.head_dim),
                       ("value_length", c.head_dim), ("q_lora_rank", c.q_lora), ("output_lora_rank", c.o_lora),
                       ("output_group_count", c.o_groups), ("sliding_window", c.window),
                       ("indexer.head_count", c.n_idx_head), ("indexer.key_length", c.idx_dim),
                       ("indexer.top_k", c.idx_topk)]:
        out.append(entry(E + key, U32, value))
    for key, value in [(E + "layer_norm_rms_epsilon", c.rms_eps), (E + "compress_rope_freq_base", c.crope_base),
                       (A + "rope.freq_base", c.rope_base), (A + "expert_weights_scale", c.route_scale),
                       (A + "hyper_connection.epsilon", c.hc_eps)]:
        out.append(entry(key, F32, value))
    if c.yarn_factor > 1:
        out += [entry(A + "rope.scaling.type", STR, "yarn"), entry(A + "rope.scaling.factor", F32, c.yarn_factor),
                entry(A + "rope.scaling.original_context_length", U32, c.yarn_original),
                entry(A + "rope.scaling.yarn_beta_fast", F32, c.yarn_fast),
                entry(A + "rope.scaling.yarn_beta_slow", F32, c.yarn_slow)]
    out += [entry(A + "expert_weights_norm", BOOL, True), entry(E + "compress_ratios", ARR, c.ratios, I32),
            entry(A + "swiglu_clamp_exp", ARR, [c.swiglu_limit] * c.n_layer, F32),
            entry("tokenizer.ggml.model", STR, "gpt2"), entry("tokenizer.ggml.pre", STR, "joyai-llm"),
            entry("tokenizer.ggml.tokens", ARR, tok.tokens, STR), entry("tokenizer.ggml.token_type", ARR, tok.kinds, I32),
            entry("tokenizer.ggml.merges", ARR, [" ".join(m) for m in tok.merges], STR),
            entry("tokenizer.ggml.bos_token_id", U32, 0), entry("tokenizer.ggml.eos_token_id", U32, 1),
            entry("tokenizer.ggml.add_bos_token", BOOL, False)]
    return out


def head(p, b, sd):
    return [(p + "fn.weight", sd[b + "fn"], T_F16), (p + "base.weight", sd[b + "base"], T_F32),
            (p + "scale.weight", sd[b + "scale"], T_F32)]


def layer(c, sd, p, b, ratio, hashed):
    out = []
    for site in ("attn", "ffn"):
        out += head(p + f"hc_{site}_", b + f"hc_{site}.", sd)
    a = b + "attn."
    out += [(p + "attn_norm.weight", sd[b + "attn_norm"], T_F32), (p + "attn_q_a.weight", sd[a + "q_a.weight"], T_Q8_0),
            (p + "attn_q_a_norm.weight", sd[a + "q_a_norm"], T_F32), (p + "attn_q_b.weight", sd[a + "q_b.weight"], T_Q8_0),
            (p + "attn_kv.weight", sd[a + "kv.weight"], T_Q8_0), (p + "attn_kv_a_norm.weight", sd[a + "kv_norm"], T_F32),
            (p + "attn_sinks.weight", sd[a + "sinks"], T_F32),
            (p + "attn_output_a.weight", sd[a + "o_a"].reshape(c.o_groups * c.o_lora, -1), T_Q8_0),
            (p + "attn_output_b.weight", sd[a + "o_b.weight"], T_Q8_0)]
    pairs = ([("attn_compressor_", "compressor.")] if ratio else []) + \
            ([("indexer_compressor_", "idx_compressor.")] if ratio == 4 else [])
    for name, key in pairs:
        out += [(p + name + "kv.weight", sd[a + key + "kv.weight"], T_Q8_0),
                (p + name + "gate.weight", sd[a + key + "gate.weight"], T_Q8_0),
                (p + name + "ape.weight", sd[a + key + "ape"], T_F16), (p + name + "norm.weight", sd[a + key + "norm"], T_F32)]
    if ratio == 4:
        out += [(p + "indexer.attn_q_b.weight", sd[a + "idx_q_b.weight"], T_Q8_0),
                (p + "indexer.proj.weight", sd[a + "idx_proj.weight"], T_F16)]
    e = b + "moe."
    out += [(p + "ffn_norm.weight", sd[b + "ffn_norm"], T_F32), (p + "ffn_gate_inp.weight", sd[e + "router"], T_F16)]
    out += [(p + "ffn_gate_tid2eid.weight", sd[e + "table"], T_I32)] if hashed else [(p + "exp_probs_b.bias", sd[e + "bias"], T_F32)]
    return out + [(p + "ffn_gate_exps.weight", sd[e + "gate"], T_Q8_0), (p + "ffn_up_exps.weight", sd[e + "up"], T_Q8_0),
                  (p + "ffn_down_exps.weight", sd[e + "down"], T_Q8_0), (p + "ffn_gate_shexp.weight", sd[e + "s_gate"], T_Q8_0),
                  (p + "ffn_up_shexp.weight", sd[e + "s_up"], T_Q8_0), (p + "ffn_down_shexp.weight", sd[e + "s_down"], T_Q8_0)]


def tensors(c, sd):
    """(GGUF name, array, type) in file order. sd: the state dict as float32 arrays."""
    out = [("token_embd.weight", sd["embed"], T_Q8_0), ("output_norm.weight", sd["head.norm"], T_F32),
           ("output.weight", sd["output"], T_Q8_0)] + head("output_hc_", "head.", sd)
    for i, ratio in enumerate(c.ratios):
        out += layer(c, sd, f"blk.{i}.", f"blocks.{i}.", ratio, i < c.n_hash)
    if c.n_mtp:
        p, b = "mtp.0.", "draft."
        out += layer(c, sd, p, b + "block.", 0, False)
        out += [(p + "e_proj.weight", sd[b + "e_proj.weight"], T_Q8_0), (p + "h_proj.weight", sd[b + "h_proj.weight"], T_Q8_0),
                (p + "enorm.weight", sd[b + "enorm"], T_F32), (p + "hnorm.weight", sd[b + "hnorm"], T_F32),
                (p + "norm.weight", sd[b + "head.norm"], T_F32)] + head(p + "hc_head_", b + "head.", sd)
    return out


def q8_0(x):
    """Blocks of 32 along the last axis: f16 d = max|x| / 127, then 32 int8."""
    b = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    d = (np.abs(b).max(1) / 127).astype(np.float16)
    inv = np.where(d > 0, 1 / np.maximum(d.astype(np.float32), 1e-30), 0)
    q = np.clip(np.rint(b * inv[:, None]), -127, 127).astype(np.int8)
    out = np.zeros(len(b), Q8_0_BLOCK)
    out["d"], out["q"] = d, q
    return out.tobytes()


def encode(x, kind):
    if kind == T_Q8_0:
        return q8_0(x)
    return np.ascontiguousarray(x).astype(PLAIN[kind]).tobytes()


def whole(c, tok, sd, align=32):
    """The file's bytes."""
    meta, items = metadata(c, tok), tensors(c, sd)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(items), len(meta)) + b"".join(meta)
    blobs, offset = [], 0
    for name, x, kind in items:
        blob = encode(x, kind)
        head += _str(name) + struct.pack("<I", x.ndim) + struct.pack(f"<{x.ndim}Q", *x.shape[::-1])
        head += struct.pack("<IQ", kind, offset)
        offset += -(-len(blob) // align) * align
        blobs.append(blob + b"\0" * (-len(blob) % align))
    return head + b"\0" * (-len(head) % align) + b"".join(blobs)


def write(path, c, tok, sd):
    with open(path, "wb") as f:
        f.write(whole(c, tok, sd))


def parse(data):
    """(metadata, {tensor name: (dimensions, type, offset in `data`)}) of a GGUF file that write() made."""
    at = 8

    def take(form):
        nonlocal at
        out = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return out[0]

    def text():
        n = take("Q")
        return take(f"{n}s").decode()

    def value(kind):
        if kind == ARR:
            element, n = take("I"), take("Q")
            return [value(element) for _ in range(n)]
        return text() if kind == STR else take({U32: "I", I32: "i", F32: "f", BOOL: "?"}[kind])

    n_tensors, n_meta = take("Q"), take("Q")
    meta, directory = {}, {}
    for _ in range(n_meta):
        key = text()
        meta[key] = value(take("I"))
    for _ in range(n_tensors):
        name = text()
        dims = [take("Q") for _ in range(take("I"))]
        directory[name] = (dims, take("I"), take("Q"))
    align = meta["general.alignment"]
    begin = -(-at // align) * align
    return meta, {name: (dims, kind, begin + offset) for name, (dims, kind, offset) in directory.items()}


def read(path):
    """The state dict of a file that write() made, as float32 arrays: what training goes on from when no checkpoint is left."""
    import network
    with open(path, "rb") as f:
        data = f.read()
    c = network.Config()
    sd = {k: v.numpy().copy() for k, v in network.Network(c).state_dict().items()}
    directory = parse(data)[1]
    for name, array, _ in tensors(c, sd):  # these are views of sd's arrays: filling them fills sd
        dims, kind, offset = directory[name]
        if tuple(dims[::-1]) != array.shape:
            raise ValueError(f"{path}: {name} has dimensions {dims[::-1]}, the network wants {list(array.shape)}")
        if kind == T_Q8_0:
            raw = np.frombuffer(data, Q8_0_BLOCK, array.size // 32, offset)
            array[...] = (raw["d"].astype(np.float32)[:, None] * raw["q"]).reshape(array.shape)
        else:
            array[...] = np.frombuffer(data, PLAIN[kind], array.size, offset).reshape(array.shape)
    return sd


def load(path):
    """(Config, state dict as float32 arrays) of the newest state in a directory that train.py wrote."""
    import network
    import train
    data = train.load(path)
    if data is None:
        raise SystemExit(f"{path}: no state")
    if str(path).endswith(".gguf") or "config" not in data:
        return network.Config(), {k: v.numpy() for k, v in data["model"].items()}
    sd = {k: v.float().numpy() if v.is_floating_point() else v.numpy() for k, v in data["model"].items()}
    return network.Config(**data["config"]), sd


def main():
    import tokenizer
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint")
    ap.add_argument("vocabulary")
    ap.add_argument("out")
    args = ap.parse_args()
    c, sd = load(args.checkpoint)
    write(args.out, c, tokenizer.Tokenizer.load(args.vocabulary), sd)


if __name__ == "__main__":
    main()
