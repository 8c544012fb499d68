"""DeepSeek V4 in NumPy float64, written from docs/spec/model.md alone: whole sequences, no state, nothing fast.

It shares no code with ds4. It reads a GGUF file of plain types (F32, F16, BF16, Q8_0, I32), so that it can check any small
model, ds4-mini included.

    python3 reference.py FILE --ids 1,2,3 [--official]      prints the last logits' argmax and norm
"""

import pathlib

import numpy as np

# ---------------------------------------------------------------- the file

SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}


class File:
    """Metadata and tensors (as float64, or int for tables) of a GGUF file."""

    def __init__(self, path):
        self.data, self.at = pathlib.Path(path).read_bytes(), 8
        n_tensors, n_values = self.take("<u8"), self.take("<u8")
        self.values = {}
        for _ in range(n_values):
            key = self.text()
            self.values[key] = self.value(self.take("<u4"))
        entries = []
        for _ in range(n_tensors):
            name, n = self.text(), self.take("<u4")
            dims = [self.take("<u8") for _ in range(n)]
            entries.append((name, dims[::-1], self.take("<u4"), self.take("<u8")))
        align = self.values.get("general.alignment", 32)
        start = -(-self.at // align) * align
        self.tensors = {name: self.tensor(shape, kind, start + offset) for name, shape, kind, offset in entries}

    def take(self, kind):
        value = np.frombuffer(self.data, kind, 1, self.at)[0]
        self.at += value.nbytes
        return value.item()

    def text(self):
        n = self.take("<u8")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.take(SCALARS[kind])
        inner, n = self.take("<u4"), self.take("<u8")
        return [self.value(inner) for _ in range(n)]

    def tensor(self, shape, kind, at):
        n = int(np.prod(shape))
        if kind == 26:
            return np.frombuffer(self.data, "<i4", n, at).reshape(shape)
        if kind == 8:
            blocks = np.frombuffer(self.data, np.dtype([("d", "<f2"), ("q", "i1", 32)]), n // 32, at)
            x = blocks["d"].astype(float)[:, None] * blocks["q"]
        elif kind == 30:
            x = (np.frombuffer(self.data, "<u2", n, at).astype(np.uint32) << 16).view("<f4")
        else:
            x = np.frombuffer(self.data, {0: "<f4", 1: "<f2"}[kind], n, at)
        return x.astype(float).reshape(shape)


# ---------------------------------------------------------------- small pieces

def normed(x, eps, weight=1.0):
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps) * weight


def logistic(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def turned(x, positions, omega, back=False):
    """The last channels of x [T, ..., D], pairwise, by position * omega (the product in float32: section 3)."""
    angle = (np.float32(positions)[:, None] * omega[None]).astype(np.float32).astype(float)
    angle = -angle if back else angle
    angle = angle.reshape((len(positions),) + (1,) * (x.ndim - 2) + (len(omega),))
    out, n = x.copy(), 2 * len(omega)
    a, b = x[..., -n::2], x[..., x.shape[-1] - n + 1::2]
    out[..., -n::2] = a * np.cos(angle) - b * np.sin(angle)
    out[..., x.shape[-1] - n + 1::2] = a * np.sin(angle) + b * np.cos(angle)
    return out


def scale_of(top, least, largest):
    p = np.maximum(np.float32(top), np.float32(least)) * (np.float32(1) / np.float32(largest))
    return 2.0 ** np.ceil(np.log2(p.astype(float)))


def on_grid(x, mantissa, least_exponent, largest):
    """Nearest value with so many mantissa bits, ties to even; subnormals below 2^least_exponent."""
    x = np.clip(x, -largest, largest)
    exponent = np.floor(np.log2(np.maximum(np.abs(x), 2.0 ** least_exponent)))
    step = 2.0 ** (np.maximum(exponent, least_exponent) - mantissa)
    return np.rint(x / step) * step


def as_bf16(x):
    bits = x.astype("f4").view("u4")
    return ((bits + 0x7fff + (bits >> 16 & 1)) & np.uint32(0xffff0000)).astype("u4").view("f4").astype(x.dtype)


def as_fp8(x, n_rot):
    """Section 12.2: blocks of 64 in E4M3, the rotated channels in bf16."""
    out = x.copy()
    for at in range(0, x.shape[-1] - n_rot, 64):
        end = min(at + 64, x.shape[-1] - n_rot)
        s = scale_of(np.abs(x[..., at:end]).max(-1, keepdims=True), 1e-4, 448)
        out[..., at:end] = on_grid(x[..., at:end] / s, 3, -6, 448) * s
    out[..., x.shape[-1] - n_rot:] = as_bf16(x[..., x.shape[-1] - n_rot:])
    return out


def as_fp4(x):
    n, h = x.shape[-1], 1
    while h < n:
        pairs = x.reshape(x.shape[:-1] + (n // (2 * h), 2, h))
        x = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], -2).reshape(x.shape)
        h *= 2
    x = x / np.sqrt(n)
    blocks = x.reshape(x.shape[:-1] + (n // 32, 32))
    s = scale_of(np.abs(blocks).max(-1, keepdims=True), 6 * 2.0 ** -126, 6)
    return (on_grid(blocks / s, 1, 0, 6) * s).reshape(x.shape)


# ---------------------------------------------------------------- the network

class Network:
    def __init__(self, path, kv_official=False, index_official=False):
        file = File(path)
        self.w, self.kv_official, self.index_official = file.tensors, kv_official, index_official
        self.margin = np.inf  # how clear the closest choice of rows or experts was, of all that were made
        get = lambda key, *default: file.values.get("deepseek4." + key, *default)
        self.ratios = get("attention.compress_ratios")
        self.layers = get("block_count")
        self.heads, self.width, self.rot = get("attention.head_count"), get("attention.key_length"), get("rope.dimension_count")
        self.groups, self.window = get("attention.output_group_count"), get("attention.sliding_window")
        self.index_heads, self.index_width = get("attention.indexer.head_count"), get("attention.indexer.key_length")
        self.top = get("attention.indexer.top_k")
        self.experts, self.used = get("expert_count"), get("expert_used_count")
        self.hashed, self.expert_scale = get("hash_layer_count"), np.float32(get("expert_weights_scale"))
        clamp = get("swiglu_clamp_exp")
        self.clamp = clamp if isinstance(clamp, list) else [clamp] * self.layers
        shared = get("swiglu_clamp_shexp", clamp)
        self.clamp_shared = shared if isinstance(shared, list) else [shared] * self.layers
        self.streams, self.sinkhorn = get("hyper_connection.count"), get("hyper_connection.sinkhorn_iterations")
        self.hc_eps, self.eps = get("hyper_connection.epsilon"), get("attention.layer_norm_rms_epsilon")
        self.omega = [self.frequencies(get("rope.freq_base"), None),
                      self.frequencies(get("attention.compress_rope_freq_base"), get)]

    def frequencies(self, base, get):
        pair = np.arange(self.rot // 2)
        omega = (1 / np.float32(base) ** (np.float32(2) * pair.astype(np.float32) / np.float32(self.rot))).astype(np.float32)
        factor = get("rope.scaling.factor", 1.0) if get else 1.0
        if factor <= 1:
            return omega
        original = get("rope.scaling.original_context_length")
        at = lambda turns: self.rot * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))
        low = max(np.floor(at(get("rope.scaling.yarn_beta_fast"))), 0)
        high = min(np.ceil(at(get("rope.scaling.yarn_beta_slow"))), self.rot - 1)
        high += 0.001 if low == high else 0
        ramp = np.clip((pair - low) / (high - low), 0, 1).astype(np.float32)
        return (omega / np.float32(factor) * ramp + omega * (1 - ramp)).astype(np.float32)

    def mix(self, x, site):
        """Section 4: x [T, m, d] -> input of a layer [T, d], post [T, m], comb [T, m, m]."""
        m = self.streams
        z = normed(x.reshape(len(x), -1), self.eps) @ self.w[site + "_fn.weight"].T
        base, scale = self.w[site + "_base.weight"], self.w[site + "_scale.weight"]
        pre = logistic(z[:, :m] * scale[0] + base[:m]) + self.hc_eps
        if len(scale) == 1:
            return (pre[..., None] * x).sum(1)
        post = 2 * logistic(z[:, m:2 * m] * scale[1] + base[m:2 * m])
        comb = softmax((z[:, 2 * m:] * scale[2] + base[2 * m:]).reshape(-1, m, m)) + self.hc_eps
        for i in range(self.sinkhorn):
            if i:
                comb = comb / (comb.sum(2, keepdims=True) + self.hc_eps)
            comb = comb / (comb.sum(1, keepdims=True) + self.hc_eps)
        return (pre[..., None] * x).sum(1), post, comb

    def compressed(self, x, stem, ratio, width, omega):
        """Section 6: the rows of all complete groups."""
        v, g = x @ self.w[stem + "_kv.weight"].T, x @ self.w[stem + "_gate.weight"].T
        n = len(x) // ratio
        if n == 0:
            return np.zeros((0, width))
        v, g = v[:n * ratio].reshape(n, ratio, -1), g[:n * ratio].reshape(n, ratio, -1) + self.w[stem + "_ape.weight"]
        if ratio == 4:
            rows = []
            for i in range(n):
                vs, gs = [v[i, :, width:]], [g[i, :, width:]]
                if i:
                    vs, gs = [v[i - 1, :, :width]] + vs, [g[i - 1, :, :width]] + gs
                rows.append((softmax(np.concatenate(gs), 0) * np.concatenate(vs)).sum(0))
            rows = np.array(rows).reshape(n, width)
        else:
            rows = (softmax(g, 1) * v).sum(1)
        rows = normed(rows, self.eps, self.w[stem + "_norm.weight"])
        return turned(rows, np.arange(n) * ratio, omega)

    def largest(self, values, n, scale):
        """Indices of the n largest, of equal ones the first; notes how far the next one was behind, relative to scale."""
        order = np.argsort(-values, kind="stable")
        if n < len(values):
            self.margin = min(self.margin, (values[order[n - 1]] - values[order[n]]) / scale)
        return order[:n]

    def attention(self, x, p, ratio):
        """Section 5, query by query."""
        T, w = len(x), self.w
        positions, omega = np.arange(T), self.omega[ratio != 0]
        qr = normed(x @ w[p + "attn_q_a.weight"].T, self.eps, w[p + "attn_q_a_norm.weight"])
        q = (qr @ w[p + "attn_q_b.weight"].T).reshape(T, self.heads, self.width)
        q = turned(normed(q, self.eps), positions, omega)
        k = turned(normed(x @ w[p + "attn_kv.weight"].T, self.eps, w[p + "attn_kv_a_norm.weight"]), positions, omega)
        k = as_fp8(k, self.rot) if self.kv_official else k
        rows = np.zeros((0, self.width))
        if ratio:
            rows = self.compressed(x, p + "attn_compressor", ratio, self.width, omega)
            rows = as_fp8(rows, self.rot) if self.kv_official else rows
        if ratio == 4:
            keys = self.compressed(x, p + "indexer_compressor", ratio, self.index_width, omega)
            iq = (qr @ w[p + "indexer.attn_q_b.weight"].T).reshape(T, self.index_heads, self.index_width)
            iq = turned(iq, positions, omega)
            if self.index_official:
                keys, iq = as_fp4(keys), as_fp4(iq)
            weight = x @ w[p + "indexer.proj.weight"].T / np.sqrt(self.index_width * self.index_heads)
        out = np.zeros((T, self.heads, self.width))
        for t in range(T):
            seen = np.arange((t + 1) // ratio) if ratio else np.arange(0)
            if ratio == 4 and len(seen) > self.top:
                score = (weight[t][:, None] * np.maximum(iq[t] @ keys[seen].T, 0)).sum(0)
                seen = np.sort(self.largest(score, self.top, np.abs(score).max()))
            values = np.concatenate([k[max(0, t - self.window + 1):t + 1], rows[seen]])
            score = np.concatenate([q[t] @ values.T / np.sqrt(self.width), w[p + "attn_sinks.weight"][:, None]], 1)
            out[t] = softmax(score)[:, :-1] @ values
        out = turned(out, positions, omega, back=True).reshape(T, self.groups, -1)
        a = w[p + "attn_output_a.weight"].reshape(self.groups, -1, out.shape[-1])
        return np.einsum("tgi,goi->tgo", out, a).reshape(T, -1) @ w[p + "attn_output_b.weight"].T

    def expert(self, x, gate, up, down, limit):
        g, u = x @ gate.T, x @ up.T
        if limit > 0:
            g, u = np.minimum(g, limit), np.clip(u, -limit, limit)
        return (g * logistic(g) * u) @ down.T

    def moe(self, x, tokens, p, layer, hashed):
        """Section 8."""
        w = self.w
        logits = x @ w[p + "ffn_gate_inp.weight"].T
        affinity = np.sqrt(np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits))))
        y = self.expert(x, *(w[p + f"ffn_{n}_shexp.weight"] for n in ("gate", "up", "down")), self.clamp_shared[layer])
        for t in range(len(x)):
            if hashed:
                chosen = w[p + "ffn_gate_tid2eid.weight"][tokens[t]]
            else:
                chosen = self.largest(affinity[t] + w[p + "exp_probs_b.bias"], self.used, 1)
            share = affinity[t][chosen] / max(affinity[t][chosen].sum(), 1e-20) * self.expert_scale
            for e, s in zip(chosen, share):
                y[t] += s * self.expert(x[t], *(w[p + f"ffn_{n}_exps.weight"][e] for n in ("gate", "up", "down")),
                                        self.clamp[layer])
        return y

    def layer(self, x, tokens, p, ratio, layer, hashed):
        a, post, comb = self.mix(x, p + "hc_attn")
        y = self.attention(normed(a, self.eps, self.w[p + "attn_norm.weight"]), p, ratio)
        x = post[..., None] * y[:, None] + np.einsum("tjk,tjd->tkd", comb, x)
        a, post, comb = self.mix(x, p + "hc_ffn")
        y = self.moe(normed(a, self.eps, self.w[p + "ffn_norm.weight"]), tokens, p, layer, hashed)
        return post[..., None] * y[:, None] + np.einsum("tjk,tjd->tkd", comb, x)

    def trunk(self, tokens):
        x = np.repeat(self.w["token_embd.weight"][tokens][:, None], self.streams, 1)
        for i in range(self.layers):
            x = self.layer(x, tokens, f"blk.{i}.", self.ratios[i], i, i < self.hashed)
        return x

    def logits(self, tokens):
        """[T, V] for every position."""
        h = self.mix(self.trunk(tokens), "output_hc")
        return normed(h, self.eps, self.w["output_norm.weight"]) @ self.w["output.weight"].T

    def draft_logits(self, tokens):
        """Section 10: row t drafts token t + 2."""
        w, x, after = self.w, self.trunk(tokens)[:-1], tokens[1:]
        e = normed(w["token_embd.weight"][after], self.eps, w["mtp.0.enorm.weight"]) @ w["mtp.0.e_proj.weight"].T
        x = e[:, None] + normed(x, self.eps, w["mtp.0.hnorm.weight"]) @ w["mtp.0.h_proj.weight"].T
        x = self.layer(x, after, "mtp.0.", 0, self.layers - 1, False)
        h = self.mix(x, "mtp.0.hc_head")
        return normed(h, self.eps, w["mtp.0.norm.weight"]) @ w["output.weight"].T


if __name__ == "__main__":
    import argparse
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("--ids", required=True)
    ap.add_argument("--official", action="store_true")
    args = ap.parse_args()
    last = Network(args.file, args.official, args.official).logits([int(i) for i in args.ids.split(",")])[-1]
    print("argmax", last.argmax(), "norm", np.linalg.norm(last))
