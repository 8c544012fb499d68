#!/usr/bin/env python3
"""Writes a model with the widths of DeepSeek V4 Flash and random weights: 129,280 tokens of vocabulary, 256 experts of which six
are used, and one layer of each kind (window, CSA, HCA), the first two routed by table. For profiles, not for conversation.

    flash_shaped.py FILE [--ff N] [--layers RATIOS]

Matrices are Q8_0 or F16, as in published files. Experts are --ff wide (512; Flash has 2048, which makes a file of 22 GB and the
share of everything else smaller). The vocabulary is made of bytes; all ids above them are unused. Standard library only.
"""
import argparse
import array
import math
import random
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR = {"f32": 0, "f16": 1, "q8_0": 8, "i32": 26}
ALIGNMENT = 32
PERIOD = 65537  # values or blocks after which random data repeats: a prime, so that no two rows of a matrix are alike
VOCAB, EMBD, HEADS, HEAD_DIM, Q_RANK, GROUPS, O_RANK = 129280, 4096, 64, 512, 1024, 8, 1024
INDEX_HEADS, INDEX_DIM, EXPERTS, USED, STREAMS, HASHED = 64, 128, 256, 6, 4, 2
SPECIALS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜",
            "<｜latest_reminder｜>"]


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def byte_symbols():
    """The printable stand-ins of the 256 bytes in byte-level vocabularies."""
    plain = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    extra = iter(range(0x100, 0x200))
    return [chr(b if b in plain else next(extra)) for b in range(256)]


class Writer:
    def __init__(self, dice):
        self.dice, self.values, self.n_values, self.tensors, self.size = dice, b"", 0, [], 0
        self.patterns = {}

    def put(self, key, kind, raw):
        self.values += text(key) + struct.pack("<I", kind) + raw
        self.n_values += 1

    def number(self, key, value):
        self.put("deepseek4." + key, *((F32, struct.pack("<f", value)) if isinstance(value, float) else (U32, struct.pack("<I", value))))

    def array(self, key, kind, items):
        self.put(key, ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))

    def tensor(self, name, dims, kind, pattern):
        """`pattern` repeats until the tensor is full."""
        n = math.prod(dims)
        size = n // 32 * 34 if kind == "q8_0" else n * (2 if kind == "f16" else 4)
        self.tensors.append((name, dims, TENSOR[kind], self.size, size, pattern))
        self.size += (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    def values_of(self, name, n, scale, shift):
        self.tensor(name, [n], "f32", array.array("f", [shift + scale * self.dice.gauss(0, 1) for _ in range(n)]).tobytes())

    def matrix(self, name, n_in, n_out, kind="q8_0", n_stacked=None, gain=1):
        key = (kind, n_in, gain)
        if key not in self.patterns:
            if kind == "q8_0":  # int8 values of deviation 74, and a scale that makes results as large as inputs
                scale = struct.pack("<e", gain / (74 * math.sqrt(n_in)))
                self.patterns[key] = b"".join(scale + self.dice.randbytes(32) for _ in range(PERIOD))
            else:
                code = "e" if kind == "f16" else "f"
                self.patterns[key] = struct.pack(f"<{PERIOD}{code}", *(self.dice.gauss(0, 1 / math.sqrt(n_in)) for _ in range(PERIOD)))
        self.tensor(name, [n_in, n_out] + ([n_stacked] if n_stacked else []), kind, self.patterns[key])

    def hyper(self, name, n_out, n_scales):
        self.matrix(f"{name}_fn.weight", STREAMS * EMBD, n_out, "f16")
        self.values_of(f"{name}_base.weight", n_out, 0.5, 0)
        self.values_of(f"{name}_scale.weight", n_scales, 0.3, 1)

    def compressor(self, name, width, n_series, ratio):
        self.matrix(f"{name}_kv.weight", EMBD, n_series * width, "f16")
        self.matrix(f"{name}_gate.weight", EMBD, n_series * width, "f16")
        self.matrix(f"{name}_ape.weight", n_series * width, ratio, "f16")
        self.values_of(f"{name}_norm.weight", width, 0.2, 1)

    def layer(self, i, ratio, ff):
        p = f"blk.{i}."
        self.hyper(p + "hc_attn", (2 + STREAMS) * STREAMS, 3)
        self.hyper(p + "hc_ffn", (2 + STREAMS) * STREAMS, 3)
        self.values_of(p + "attn_norm.weight", EMBD, 0.2, 1)
        self.matrix(p + "attn_q_a.weight", EMBD, Q_RANK)
        self.values_of(p + "attn_q_a_norm.weight", Q_RANK, 0.2, 1)
        self.matrix(p + "attn_q_b.weight", Q_RANK, HEADS * HEAD_DIM)
        self.matrix(p + "attn_kv.weight", EMBD, HEAD_DIM)
        self.values_of(p + "attn_kv_a_norm.weight", HEAD_DIM, 0.2, 1)
        self.values_of(p + "attn_sinks.weight", HEADS, 1, 0)
        self.matrix(p + "attn_output_a.weight", HEADS * HEAD_DIM // GROUPS, GROUPS * O_RANK)
        self.matrix(p + "attn_output_b.weight", GROUPS * O_RANK, EMBD)
        if ratio:
            self.compressor(p + "attn_compressor", HEAD_DIM, 2 if ratio == 4 else 1, ratio)
        if ratio == 4:
            self.matrix(p + "indexer.attn_q_b.weight", Q_RANK, INDEX_HEADS * INDEX_DIM, "f16")
            self.matrix(p + "indexer.proj.weight", EMBD, INDEX_HEADS, "f16")
            self.compressor(p + "indexer_compressor", INDEX_DIM, 2, ratio)
        self.values_of(p + "ffn_norm.weight", EMBD, 0.2, 1)
        self.matrix(p + "ffn_gate_inp.weight", EMBD, EXPERTS, "f16")
        if i < HASHED:
            rows = (self.dice.sample(range(EXPERTS), USED) for _ in range(VOCAB))
            self.tensor(p + "ffn_gate_tid2eid.weight", [USED, VOCAB], "i32", array.array("i", [e for row in rows for e in row]).tobytes())
        else:
            self.values_of(p + "exp_probs_b.bias", EXPERTS, 0.05, 0)
        self.matrix(p + "ffn_gate_exps.weight", EMBD, ff, n_stacked=EXPERTS)
        self.matrix(p + "ffn_up_exps.weight", EMBD, ff, n_stacked=EXPERTS)
        self.matrix(p + "ffn_down_exps.weight", ff, EMBD, n_stacked=EXPERTS)
        self.matrix(p + "ffn_gate_shexp.weight", EMBD, ff)
        self.matrix(p + "ffn_up_shexp.weight", EMBD, ff)
        self.matrix(p + "ffn_down_shexp.weight", ff, EMBD)

    def save(self, path):
        with open(path, "wb") as out:
            out.write(b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), self.n_values) + self.values)
            for name, dims, kind, offset, _, _ in self.tensors:
                out.write(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset))
            begin = out.tell() + -out.tell() % ALIGNMENT
            for _, _, _, offset, size, pattern in self.tensors:
                out.seek(begin + offset)
                for _ in range(size // len(pattern)):
                    out.write(pattern)
                out.write(pattern[:size % len(pattern)])
            out.truncate(begin + self.size)


def hyper_parameters(w, ratios, ff):
    w.put("general.architecture", STRING, text("deepseek4"))
    w.put("general.name", STRING, text("flash-shaped"))
    numbers = {
        "block_count": len(ratios), "context_length": 1 << 20, "embedding_length": EMBD, "vocab_size": VOCAB,
        "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM, "attention.q_lora_rank": Q_RANK, "attention.output_lora_rank": O_RANK,
        "attention.output_group_count": GROUPS, "attention.sliding_window": 128, "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.compress_rope_freq_base": 160000.0, "attention.indexer.head_count": INDEX_HEADS,
        "attention.indexer.key_length": INDEX_DIM, "attention.indexer.top_k": 512, "rope.dimension_count": 64,
        "rope.freq_base": 10000.0, "expert_count": EXPERTS, "expert_used_count": USED, "expert_shared_count": 1,
        "expert_feed_forward_length": ff, "expert_weights_scale": 1.5, "expert_gating_func": 4, "hash_layer_count": HASHED,
        "swiglu_clamp_exp": 10.0, "hyper_connection.count": STREAMS, "hyper_connection.sinkhorn_iterations": 20,
        "hyper_connection.epsilon": 1e-6}
    for key, value in numbers.items():
        w.number(key, value)
    w.array("deepseek4.attention.compress_ratios", I32, [struct.pack("<i", r) for r in ratios])
    w.put("deepseek4.expert_weights_norm", BOOL, b"\1")


def tokenizer(w):
    known = SPECIALS + byte_symbols() + ["he"]  # what the one merge makes
    w.put("tokenizer.ggml.model", STRING, text("gpt2"))
    w.put("tokenizer.ggml.pre", STRING, text("joyai-llm"))
    w.array("tokenizer.ggml.tokens", STRING, [text(t) for t in known] + [text(f"<unused{i}>") for i in range(len(known), VOCAB)])
    types = [3] * len(SPECIALS) + [1] * (len(known) - len(SPECIALS)) + [5] * (VOCAB - len(known))
    w.array("tokenizer.ggml.token_type", I32, [struct.pack("<i", t) for t in types])
    w.array("tokenizer.ggml.merges", STRING, [text("h e")])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("file")
    ap.add_argument("--ff", type=int, default=512, help="width of an expert (512)")
    ap.add_argument("--layers", default="0,4,128", help="compression ratio of each layer (0,4,128)")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    ratios = [int(r) for r in args.layers.split(",")]
    w = Writer(random.Random(args.seed))
    hyper_parameters(w, ratios, args.ff)
    tokenizer(w)
    w.matrix("token_embd.weight", EMBD, VOCAB, "f16")
    w.values_of("output_norm.weight", EMBD, 0.2, 1)
    w.matrix("output.weight", EMBD, VOCAB, gain=4)  # so that a few hundred tokens share the probability, not all
    w.hyper("output_hc", STREAMS, 1)
    for i, ratio in enumerate(ratios):
        w.layer(i, ratio, args.ff)
    w.save(args.file)


if __name__ == "__main__":
    main()
