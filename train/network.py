"""The V4 network for training, whole sequences from position 0, after docs/spec/model.md (section numbers below).

Written for throughput: experts are computed densely, attention in blocks of one window. Two extras over inference:
straight-through roundings (12.2), and the indexer's alignment loss: top-k gives no gradient, so the indexer learns to
score rows as the attention weights them."""
import math
from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint as recompute


@dataclass
class Config:
    n_vocab: int = 2048
    n_embd: int = 256
    ratios: list = field(default_factory=lambda: [0, 4, 128, 4, 4, 128, 4])
    n_head: int = 8
    head_dim: int = 192
    n_rot: int = 64
    q_lora: int = 256
    o_lora: int = 128
    o_groups: int = 2  # n_head * head_dim / o_groups stays a multiple of 256
    window: int = 128
    n_idx_head: int = 4
    idx_dim: int = 128
    idx_topk: int = 512
    n_expert: int = 8
    n_used: int = 2
    n_ff: int = 256
    n_hash: int = 1
    route_scale: float = 1.5
    swiglu_limit: float = 10.0
    n_hc: int = 4
    sinkhorn: int = 8
    hc_eps: float = 1e-6
    rms_eps: float = 1e-6
    rope_base: float = 10000.0
    crope_base: float = 160000.0
    n_ctx: int = 8192

    @property
    def n_layer(self):
        return len(self.ratios)


def rms(x, eps, weight=None):
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def rope(x, angle, inverse=False):
    """Rotates the last 2*angle.shape[-1] channels of x [..., T, D] by angle [T, R/2] (section 3)."""
    n = 2 * angle.shape[-1]
    cos, sin = angle.cos(), angle.sin()
    if inverse:
        sin = -sin
    head, tail = x[..., :-n], x[..., -n:]
    a, b = tail[..., 0::2], tail[..., 1::2]
    return torch.cat([head, torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)], -1)


def pow2_scale(amax, floor, top):
    """Smallest power of two s with amax / top <= s."""
    return torch.exp2(torch.ceil(torch.log2(amax.clamp_min(floor) / top)))


def straight_through(x, y):
    return x + (y - x).detach()


def round_kv(x, n_rot):
    """FP8 E4M3 in blocks of 64 on the channels that are not rotated."""
    flat = x[..., :-n_rot].float()
    blocks = flat.unflatten(-1, (-1, 64))
    s = pow2_scale(blocks.abs().amax(-1, keepdim=True), 1e-4, 448.0)
    y = ((blocks / s).clamp(-448, 448).to(torch.float8_e4m3fn).float() * s).flatten(-2)
    return torch.cat([straight_through(x[..., :-n_rot], y.to(x.dtype)), x[..., -n_rot:]], -1)


def hadamard(x):
    n, h = x.shape[-1], 1
    shape = x.shape
    while h < n:
        x = x.reshape(*shape[:-1], n // (2 * h), 2, h)
        x = torch.stack([x[..., 0, :] + x[..., 1, :], x[..., 0, :] - x[..., 1, :]], -2).reshape(shape)
        h *= 2
    return x / math.sqrt(n)


def round_index(x):
    """Hadamard, then FP4 E2M1 in blocks of 32."""
    y = hadamard(x.float())
    blocks = y.unflatten(-1, (-1, 32))
    s = pow2_scale(blocks.abs().amax(-1, keepdim=True), 6 * 2.0 ** -126, 6.0)
    v = blocks / s
    a = v.abs().clamp(max=6.0)
    step = torch.where(a < 2, 0.5, torch.where(a < 4, 1.0, 2.0))
    q = torch.round(a / step) * step * torch.sign(v) * s
    return straight_through(y, q.flatten(-2)).to(x.dtype)


class HyperMix(nn.Module):
    """Section 4. fn starts small, so that streams begin as plain residual streams."""

    def __init__(self, c):
        super().__init__()
        m = c.n_hc
        self.c = c
        self.fn = nn.Parameter(torch.randn((2 + m) * m, m * c.n_embd) * 0.01)
        base = torch.zeros((2 + m) * m)
        base[:m] = -math.log(m - 1) if m > 1 else 0.0  # pre about 1/m
        base[2 * m:] = (torch.eye(m) * 3).flatten()     # comb near the identity
        self.base = nn.Parameter(base)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        c, m = self.c, self.c.n_hc
        with torch.autocast("cuda", enabled=False):  # f32 throughout
            x32 = x.float()
            u = rms(x32.flatten(-2), c.rms_eps)
            z = u @ self.fn.T
            pre = torch.sigmoid(z[..., :m] * self.scale[0] + self.base[:m]) + c.hc_eps
            post = 2 * torch.sigmoid(z[..., m:2 * m] * self.scale[1] + self.base[m:2 * m])
            comb = (z[..., 2 * m:] * self.scale[2] + self.base[2 * m:]).unflatten(-1, (m, m))
            comb = torch.softmax(comb, -1) + c.hc_eps
            comb = comb / (comb.sum(-2, keepdim=True) + c.hc_eps)
            for _ in range(c.sinkhorn - 1):
                comb = comb / (comb.sum(-1, keepdim=True) + c.hc_eps)
                comb = comb / (comb.sum(-2, keepdim=True) + c.hc_eps)
            a = (pre.unsqueeze(-1) * x32).sum(-2)
        return a, post, comb

    @staticmethod  # plain sums: a batched product of 4x4 matrices is slower than reading the streams once
    def merge(x, y, post, comb):
        out = post.unsqueeze(-1) * y.unsqueeze(-2).float()
        for j in range(x.shape[-2]):
            out = out + comb[..., j, :].unsqueeze(-1) * x[..., j, :].float().unsqueeze(-2)
        return out


class Compressor(nn.Module):
    """Section 6, for a whole sequence; T must be a multiple of the ratio (the caller pads)."""

    def __init__(self, c, ratio, width):
        super().__init__()
        self.c, self.ratio, self.width, self.csa = c, ratio, width, ratio == 4
        wide = width * (2 if self.csa else 1)
        self.kv = nn.Linear(c.n_embd, wide, bias=False)
        self.gate = nn.Linear(c.n_embd, wide, bias=False)
        self.ape = nn.Parameter(torch.randn(ratio, wide) * 0.3)
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, x, angle):
        B, T, _ = x.shape
        r, D = self.ratio, self.width
        kv = self.kv(x).unflatten(1, (T // r, r))
        gate = self.gate(x).unflatten(1, (T // r, r)).float() + self.ape
        if self.csa:
            first_kv, first_gate = kv[..., :D], gate[..., :D]
            none = torch.full_like(first_gate[:, :1], -1e30)
            prev_kv = torch.cat([torch.zeros_like(first_kv[:, :1]), first_kv[:, :-1]], 1)
            prev_gate = torch.cat([none, first_gate[:, :-1]], 1)
            kv = torch.cat([prev_kv, kv[..., D:]], 2)
            gate = torch.cat([prev_gate, gate[..., D:]], 2)
        row = (torch.softmax(gate, 2) * kv.float()).sum(2)
        return rope(rms(row, self.c.rms_eps, self.norm), angle[::r][:T // r])


class Attention(nn.Module):
    def __init__(self, c, ratio):
        super().__init__()
        self.c, self.ratio = c, ratio
        d, D, H = c.n_embd, c.head_dim, c.n_head
        self.q_a = nn.Linear(d, c.q_lora, bias=False)
        self.q_a_norm = nn.Parameter(torch.ones(c.q_lora))
        self.q_b = nn.Linear(c.q_lora, H * D, bias=False)
        self.kv = nn.Linear(d, D, bias=False)
        self.kv_norm = nn.Parameter(torch.ones(D))
        self.sinks = nn.Parameter(torch.zeros(H))
        self.o_a = nn.Parameter(torch.randn(c.o_groups, c.o_lora, H * D // c.o_groups) / math.sqrt(H * D // c.o_groups))
        self.o_b = nn.Linear(c.o_groups * c.o_lora, d, bias=False)
        if ratio:
            self.compressor = Compressor(c, ratio, D)
        if ratio == 4:
            self.idx_q_b = nn.Linear(c.q_lora, c.n_idx_head * c.idx_dim, bias=False)
            self.idx_proj = nn.Linear(d, c.n_idx_head, bias=False)
            self.idx_compressor = Compressor(c, ratio, c.idx_dim)

    def index_scores(self, x, qr, angle, official):
        """[B, T, N] over all rows; gradients reach only the indexer (its inputs are detached)."""
        c = self.c
        x, qr = x.detach(), qr.detach()
        q = self.idx_q_b(qr).unflatten(-1, (c.n_idx_head, c.idx_dim)).transpose(1, 2)
        q = rope(q.float(), angle)
        k = self.idx_compressor(x, angle)
        if official:
            q, k = round_index(q), round_index(k)
        a = self.idx_proj(x).float() / math.sqrt(c.idx_dim * c.n_idx_head)
        dt = torch.bfloat16 if x.is_cuda else torch.float32
        s = torch.einsum("bhti,bni->bhtn", q.to(dt), k.to(dt))
        return (a.transpose(1, 2).unsqueeze(-1) * F.relu(s.float())).sum(1)

    def forward(self, x, angle, official, index_on):
        c = self.c
        B, T, _ = x.shape
        H, D, W = c.n_head, c.head_dim, c.window
        qr = rms(self.q_a(x).float(), c.rms_eps, self.q_a_norm).to(x.dtype)
        q = self.q_b(qr).unflatten(-1, (H, D)).transpose(1, 2)
        q = rope(rms(q.float(), c.rms_eps), angle)
        k = rope(rms(self.kv(x).float(), c.rms_eps, self.kv_norm), angle)
        if official:
            k = round_kv(k, c.n_rot)
        dt = torch.bfloat16 if x.is_cuda else torch.float32
        qs, k = (q / math.sqrt(D)).to(dt), k.to(dt)
        # Window: each block of W queries sees its own block and the one before.
        nb = T // W
        kb = k.unflatten(1, (nb, W))
        kk = torch.cat([torch.cat([torch.zeros_like(kb[:, :1]), kb[:, :-1]], 1), kb], 2)      # [B, nb, 2W, D]
        qb = qs.unflatten(2, (nb, W))                                                            # [B, H, nb, W, D]
        near = torch.einsum("bhnqd,bnkd->bhnqk", qb, kk).float()
        i = torch.arange(W, device=x.device)[:, None]
        j = torch.arange(2 * W, device=x.device)[None, :] - W
        band = (j <= i) & (j > i - W)
        first = (torch.arange(nb, device=x.device)[:, None, None] > 0) | (j >= 0)[None]
        near = near.masked_fill(~(band[None] & first), -1e30).flatten(2, 3)                     # [B, H, T, 2W]
        sink = self.sinks.view(1, H, 1, 1).expand(B, H, T, 1).float()
        loss = x.new_zeros(())
        if not self.ratio:
            p = torch.softmax(torch.cat([near, sink], -1), -1).to(dt)
            o = torch.einsum("bhnqk,bnkd->bhnqd", p[..., :-1].unflatten(2, (nb, W)), kk).flatten(2, 3)
        else:
            rows = self.compressor(x, angle)
            if official:
                rows = round_kv(rows, c.n_rot)
            rows = rows.to(dt)
            t = torch.arange(T, device=x.device)[:, None]
            seen = torch.arange(rows.shape[1], device=x.device)[None, :] < (t + 1) // self.ratio  # [T, N]
            far = torch.einsum("bhtd,bnd->bhtn", qs, rows).float()
            mask = seen[None, None]
            if self.ratio == 4 and index_on:
                scores = self.index_scores(x, qr, angle, official)
                if rows.shape[1] > c.idx_topk:
                    masked = scores.detach().masked_fill(~seen[None], -1e30)
                    kth = masked.topk(c.idx_topk, -1).values[..., -1:]
                    mask = mask & (masked >= kth)[:, None]
            far = far.masked_fill(~mask, -1e30)
            p = torch.softmax(torch.cat([near, far, sink], -1), -1)
            if self.ratio == 4 and index_on:
                with torch.no_grad():
                    want = p[..., 2 * W:-1].sum(1)
                    want = want / (want.sum(-1, keepdim=True) + 1e-9)
                have = torch.log_softmax(scores.masked_fill(~seen[None], -1e30), -1)
                loss = -(want * have.masked_fill(~seen[None], 0)).sum(-1).mean()
            p = p.to(dt)
            o = torch.einsum("bhnqk,bnkd->bhnqd", p[..., :2 * W].unflatten(2, (nb, W)), kk).flatten(2, 3)
            o = o + torch.einsum("bhtn,bnd->bhtd", p[..., 2 * W:-1], rows)
        o = rope(o.float(), angle, inverse=True).to(x.dtype)
        o = o.transpose(1, 2).flatten(2).unflatten(-1, (c.o_groups, -1))
        low = torch.einsum("btgi,gri->btgr", o, self.o_a.to(o.dtype)).flatten(2)
        return self.o_b(low), loss


class Experts(nn.Module):
    """Section 8, all experts for all tokens: dense is faster than gathering at this size."""

    def __init__(self, c, hashed, layer):
        super().__init__()
        self.c, self.hashed = c, hashed
        d, f, E = c.n_embd, c.n_ff, c.n_expert
        self.router = nn.Parameter(torch.randn(E, d) / math.sqrt(d))
        self.gate = nn.Parameter(torch.randn(E, f, d) / math.sqrt(d))
        self.up = nn.Parameter(torch.randn(E, f, d) / math.sqrt(d))
        self.down = nn.Parameter(torch.randn(E, d, f) / math.sqrt(f * 2 * c.n_layer))
        self.s_gate = nn.Parameter(torch.randn(f, d) / math.sqrt(d))
        self.s_up = nn.Parameter(torch.randn(f, d) / math.sqrt(d))
        self.s_down = nn.Parameter(torch.randn(d, f) / math.sqrt(f * 2 * c.n_layer))
        self.register_buffer("bias", torch.zeros(E))
        if hashed:
            g = torch.Generator().manual_seed(99 + layer)
            self.register_buffer("table", torch.rand(c.n_vocab, E, generator=g).argsort(1)[:, :c.n_used].to(torch.int32))

    def swiglu(self, g, u):
        L = self.c.swiglu_limit
        return F.silu(g.clamp(max=L)) * u.clamp(-L, L)

    def forward(self, x, tokens):
        c = self.c
        with torch.autocast("cuda", enabled=False):
            p = torch.sqrt(F.softplus(x.float() @ self.router.T))
        if self.hashed:
            pick = self.table[tokens].long()
        else:
            pick = (p.detach() + self.bias).topk(c.n_used, -1).indices
        w = p.gather(-1, pick)
        w = c.route_scale * w / w.sum(-1, keepdim=True).clamp_min(1e-20)
        dense = torch.zeros_like(p).scatter_add(-1, pick, w)
        load = torch.zeros_like(p).scatter_add(-1, pick, torch.ones_like(w)).sum((0, 1)).detach()
        flat = x.flatten(0, 1)
        h = self.swiglu(torch.einsum("nd,efd->nef", flat, self.gate.to(x.dtype)),
                        torch.einsum("nd,efd->nef", flat, self.up.to(x.dtype)))
        h = h * dense.flatten(0, 1).unsqueeze(-1).to(h.dtype)
        y = torch.einsum("nef,edf->nd", h, self.down.to(h.dtype))
        y = y + self.swiglu(flat @ self.s_gate.T.to(x.dtype), flat @ self.s_up.T.to(x.dtype)) @ self.s_down.T.to(x.dtype)
        return y.unflatten(0, x.shape[:2]), load


class Block(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        self.c = c
        self.hc_attn, self.hc_ffn = HyperMix(c), HyperMix(c)
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(c.n_embd)), nn.Parameter(torch.ones(c.n_embd))
        self.attn = Attention(c, c.ratios[layer])
        self.moe = Experts(c, layer < c.n_hash, layer)

    def forward(self, x, tokens, angle, official, index_on):
        dt = torch.bfloat16 if x.is_cuda else torch.float32
        a, post, comb = self.hc_attn(x)
        y, loss = self.attn(rms(a, self.c.rms_eps, self.attn_norm).to(dt), angle, official, index_on)
        x = HyperMix.merge(x, y, post, comb).to(dt)
        a, post, comb = self.hc_ffn(x)
        y, load = self.moe(rms(a, self.c.rms_eps, self.ffn_norm).to(dt), tokens)
        return HyperMix.merge(x, y, post, comb).to(dt), loss, load


class Network(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.n_vocab, c.n_embd))
        self.blocks = nn.ModuleList(Block(c, i) for i in range(c.n_layer))
        self.hc_fn = nn.Parameter(torch.randn(c.n_hc, c.n_hc * c.n_embd) * 0.01)
        self.hc_base = nn.Parameter(torch.zeros(c.n_hc))
        self.hc_scale = nn.Parameter(torch.ones(1))
        self.norm = nn.Parameter(torch.ones(c.n_embd))
        self.output = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) / math.sqrt(c.n_embd) * 0.5)

    def angles(self, T, base, device):
        n = self.c.n_rot
        f = 1 / torch.pow(torch.tensor(base, device=device), torch.arange(0, n, 2, device=device, dtype=torch.float32) / n)
        return torch.arange(T, device=device, dtype=torch.float32)[:, None] * f[None]

    def forward(self, tokens, official=False, index_on=False, checkpoint=False):
        """tokens [B, T], T a multiple of the window. Returns the final hidden [B, T, d], index loss, loads [L, E]."""
        c = self.c
        plain = self.angles(tokens.shape[1], c.rope_base, tokens.device)
        comp = self.angles(tokens.shape[1], c.crope_base, tokens.device)
        dt = torch.bfloat16 if tokens.is_cuda else torch.float32
        x = self.embed[tokens].unsqueeze(2).expand(-1, -1, c.n_hc, -1).to(dt)
        total, loads = 0.0, []
        for i, block in enumerate(self.blocks):
            args = (x, tokens, comp if c.ratios[i] else plain, official, index_on)
            if checkpoint:
                x, loss, load = recompute(block, *args, use_reentrant=False)
            else:
                x, loss, load = block(*args)
            total = total + loss
            loads.append(load)
        x = x.float()
        u = rms(x.flatten(-2), c.rms_eps)
        pre = torch.sigmoid((u @ self.hc_fn.T) * self.hc_scale[0] + self.hc_base) + c.hc_eps
        return rms((pre.unsqueeze(-1) * x).sum(-2), c.rms_eps, self.norm), total, torch.stack(loads)

    def logits(self, h):
        return h @ self.output.T
