"""The V4 network for training, whole sequences from position 0, after docs/spec/model.md (section numbers below).

Written for throughput: experts are computed densely, attention in blocks of one window. Two extras over inference:
straight-through roundings (12.2), and the indexer's alignment loss: top-k gives no gradient, so the indexer learns to
score rows as the attention weights them."""
import math
from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.checkpoint import checkpoint as recompute


@dataclass
class Config:
    n_vocab: int = 6144
    n_embd: int = 256
    ratios: list = field(default_factory=lambda: [0, 4, 128, 4, 4, 128, 4, 4])
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
    n_expert: int = 16
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
    yarn_factor: float = 16.0  # on at every position: section 3
    yarn_original: int = 4096
    yarn_fast: float = 32.0
    yarn_slow: float = 1.0
    n_ctx: int = 65536
    n_mtp: int = 1

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


def visible(t, n_rows, ratio):
    """[len(t), n_rows]: the rows whose group is complete at position t."""
    return torch.arange(n_rows, device=t.device)[None, :] < ((t + 1) // ratio)[:, None]


def best(s, k):
    """The mask of the k largest of each row, found by bisection of the threshold: torch.topk takes several times as long."""
    high = s.amax(-1, keepdim=True)
    low = torch.where(torch.isfinite(s), s, high).amin(-1, keepdim=True)
    few = torch.isfinite(s).sum(-1, keepdim=True) <= k
    for _ in range(20):
        middle = (low + high) / 2
        enough = (s >= middle).sum(-1, keepdim=True) >= k
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return (s >= low) | few


def plain(q, k, rows, chosen, ratio, window, _):
    """(values [B, H, T, D], log of the summed weights [B, H, T]): attention over the window and the rows, with whole
    score matrices. The reference; for the CPU and for short rows."""
    T = q.shape[2]
    t = torch.arange(T, device=q.device)
    mask = ((t[None, :] <= t[:, None]) & (t[None, :] > t[:, None] - window))[None]
    keys = k
    if ratio:
        keys = torch.cat([k, rows], 1)
        seen = chosen if chosen is not None else visible(t, rows.shape[1], ratio)[None]
        mask = torch.cat([mask.expand(seen.shape[0], -1, -1), seen], -1)
    s = torch.einsum("bhtd,bnd->bhtn", q, keys).float().masked_fill(~mask[:, None], -1e30)
    return torch.einsum("bhtn,bnd->bhtd", torch.softmax(s, -1).to(keys.dtype), keys), torch.logsumexp(s, -1)


def blocked(q, k, rows, ratio, window):
    """The same in blocks of one window, without a choice of rows. For rows of a few thousand tokens this is several times as
    fast, backwards above all, as the fused attention."""
    B, H, T, D = q.shape
    nb = T // window
    kb = k.unflatten(1, (nb, window))
    kk = torch.cat([torch.cat([torch.zeros_like(kb[:, :1]), kb[:, :-1]], 1), kb], 2)                 # [B, nb, 2W, D]
    near = torch.einsum("bhnqd,bnkd->bhnqk", q.unflatten(2, (nb, window)), kk).float()
    i = torch.arange(window, device=q.device)[:, None]
    j = torch.arange(2 * window, device=q.device)[None, :] - window
    band = ((j <= i) & (j > i - window))[None] & ((torch.arange(nb, device=q.device)[:, None, None] > 0) | (j >= 0)[None])
    near = near.masked_fill(~band, -1e30).flatten(2, 3)                                             # [B, H, T, 2W]
    top = near.amax(-1, keepdim=True)
    if ratio:
        far = torch.einsum("bhtd,bnd->bhtn", q, rows).float()
        far = far.masked_fill(~visible(torch.arange(T, device=q.device), rows.shape[1], ratio), -1e30)
        top = torch.maximum(top, far.amax(-1, keepdim=True))
    top = top.detach()
    near = torch.exp(near - top)
    total = near.sum(-1, keepdim=True)
    o = torch.einsum("bhnqk,bnkd->bhnqd", near.to(k.dtype).unflatten(2, (nb, window)), kk).flatten(2, 3).float()
    if ratio:
        far = torch.exp(far - top)
        total = total + far.sum(-1, keepdim=True)
        o = o + torch.einsum("bhtn,bnd->bhtd", far.to(k.dtype), rows).float()
    return (o / total).to(k.dtype), (top + torch.log(total)).squeeze(-1)


def mask_of(T, n_rows, ratio, window, device):
    """The block structure of what each query sees, for the fused attention: its own block and the one before, and the
    blocks of rows that begin before it."""
    size = 128
    nb = T // size
    width = (n_rows + size - 1) // size if ratio else 0
    counts, lists = [], []
    for i in range(nb):
        far = -(-((i + 1) * size // ratio) // size) if ratio else 0
        l = [j for j in (i - 1, i) if j >= 0] + [nb + j for j in range(min(far, width))]
        counts.append(len(l))
        lists.append(l + [0] * (nb + width - len(l)))
    counts = torch.tensor(counts, dtype=torch.int32, device=device)[None, None]
    lists = torch.tensor(lists, dtype=torch.int32, device=device)[None, None]

    def sees(b, h, q, kv):
        near = (kv < T) & (kv <= q) & (kv > q - window)
        return near | ((kv >= T) & ((kv - T) < (q + 1) // ratio)) if ratio else near

    return BlockMask.from_kv_blocks(counts, lists, BLOCK_SIZE=size, mask_mod=sees, seq_lengths=(T, T + width * size))


def fused(q, k, rows, chosen, ratio, window, block_mask):
    """The same by FlexAttention: no score matrix is written."""
    T = q.shape[2]
    keys = k
    if ratio:
        keys = torch.cat([k, rows, rows.new_zeros(k.shape[0], -rows.shape[1] % 128, rows.shape[2])], 1)
    n = chosen.shape[-1] if chosen is not None else 0

    def only_chosen(s, b, h, i, j):
        return torch.where((j < T) | chosen[b, i, (j - T).clamp(0, n - 1)], s, -1e30)

    keys = keys.unsqueeze(1)
    run = FLEX if q.is_cuda else flex_attention
    o, lse = run(q, keys, keys, score_mod=only_chosen if n else None, block_mask=block_mask, scale=1.0, enable_gqa=True, return_lse=True)
    return o, lse


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
        self.keep, self.kept = False, None
        self.o_a = nn.Parameter(torch.randn(c.o_groups, c.o_lora, H * D // c.o_groups) / math.sqrt(H * D // c.o_groups))
        self.o_b = nn.Linear(c.o_groups * c.o_lora, d, bias=False)
        if ratio:
            self.compressor = Compressor(c, ratio, D)
        if ratio == 4:
            self.idx_q_b = nn.Linear(c.q_lora, c.n_idx_head * c.idx_dim, bias=False)
            self.idx_proj = nn.Linear(d, c.n_idx_head, bias=False)
            self.idx_compressor = Compressor(c, ratio, c.idx_dim)

    def index_query(self, x, qr, angle, official):
        """(queries [B, T, HI, I], weights [B, T, HI]) of the indexer; its inputs are detached: only its own loss trains it."""
        c = self.c
        q = rope(self.idx_q_b(qr).unflatten(-1, (c.n_idx_head, c.idx_dim)).float(), angle.unsqueeze(-2))
        return round_index(q) if official else q, self.idx_proj(x).float() / math.sqrt(c.idx_dim * c.n_idx_head)

    @staticmethod
    def index_scores(q, a, k):
        """[B, t, N] of some queries over all rows."""
        s = torch.einsum("bthi,bni->bthn", q.to(k.dtype), k)
        return (a.unsqueeze(-1) * F.relu(s.float())).sum(2)

    @torch.no_grad()
    def choose(self, q, a, k, T):
        """The top-k rows of every query as a mask [B, T, N]; in stretches of queries, for a long row has 16,384 of them."""
        c, N = self.c, k.shape[1]
        out = torch.empty(k.shape[0], T, N, dtype=torch.bool, device=k.device)
        step = max(128, (1 << 27) // (N * k.shape[0] * c.n_idx_head))
        for at in range(0, T, step):
            end = min(T, at + step)
            s = self.index_scores(q[:, at:end], a[:, at:end], k)
            seen = visible(torch.arange(at, end, device=k.device), N, self.ratio)
            out[:, at:end] = best(s.masked_fill(~seen[None], -math.inf), c.idx_topk) & seen[None]
        return out

    def index_loss(self, q, a, k, qs, rows, total, picks):
        """Cross entropy between the attention weights of the rows and the index scores, at the positions `picks`."""
        seen = visible(picks, rows.shape[1], self.ratio)
        with torch.no_grad():
            s = torch.einsum("bhtd,bnd->bhtn", qs[:, :, picks], rows).float() - total.unsqueeze(-1)
            want = torch.exp(s.clamp(max=0)).masked_fill(~seen, 0).sum(1)
            want = want / (want.sum(-1, keepdim=True) + 1e-9)
        have = torch.log_softmax(self.index_scores(q[:, picks], a[:, picks], k).masked_fill(~seen[None], -1e30), -1)
        return -(want * have.masked_fill(~seen[None], 0)).sum(-1).mean()

    def project(self, x, angle, official):
        """(queries [1, N, H, D], window rows [1, N, D], low-rank queries [1, N, q]) of N tokens, whatever sequences they are of."""
        c = self.c
        dt = x.dtype
        qr = rms(self.q_a(x).float(), c.rms_eps, self.q_a_norm).to(dt)
        q = rms(self.q_b(qr).unflatten(-1, (c.n_head, c.head_dim)).float(), c.rms_eps)
        q = rope(q, angle.unsqueeze(-2)) / math.sqrt(c.head_dim)
        k = rope(rms(self.kv(x).float(), c.rms_eps, self.kv_norm), angle)
        return q.to(dt), (round_kv(k, c.n_rot) if official else k).to(dt), qr

    def compress(self, x, qr, angle, official, index_on):
        """(rows, (index queries, their weights, index rows) or None) of sequences [B, T, d]."""
        rows = self.compressor(x, angle)
        rows = (round_kv(rows, self.c.n_rot) if official else rows).to(x.dtype)
        if self.ratio != 4 or not index_on:
            return rows, None
        x, qr = x.detach(), qr.detach()
        q, a = self.index_query(x, qr, angle, official)
        k = self.idx_compressor(x, angle)
        return rows, (q, a, (round_index(k) if official else k).to(x.dtype))

    def attend(self, q, k, rows, idx, picks, block_mask, fast):
        """(values [B, H, T, D], log weights [B, H, T], index loss) for queries [B, T, H, D]. Short rows in training (fast) see
        all compressed rows: their indexer learns from the attention weights, it does not yet choose."""
        q = q.transpose(1, 2)
        chosen = None
        short = fast and q.shape[2] <= 4096
        if idx is not None and rows.shape[1] > self.c.idx_topk and not short:
            chosen, self.kept = (self.kept, None) if self.kept is not None else (self.choose(*idx, q.shape[2]), None)
            if self.keep:  # the second time, when the layer is computed again for its gradient
                self.kept = chosen
        if short:
            o, lse = BLOCKED(q, k, rows, self.ratio, self.c.window)
        else:
            o, lse = (plain if block_mask is None else fused)(q, k, rows, chosen, self.ratio, self.c.window, block_mask)
        loss = q.new_zeros((), dtype=torch.float32)
        if idx is not None and picks is not None:
            total = torch.logaddexp(lse[:, :, picks], self.sinks.view(1, -1, 1).float()).detach()
            loss = self.index_loss(*idx, q, rows, total, picks)
        return o, lse, loss

    def project_out(self, o, lse, angle, dt):
        """Values [1, N, H, D] to [1, N, d]; the sink takes its share and gives no value."""
        c = self.c
        o = o.float() * torch.sigmoid(lse.float() - self.sinks).unsqueeze(-1)
        o = rope(o, angle.unsqueeze(-2), inverse=True).to(dt)
        low = torch.einsum("btgi,gri->btgr", o.flatten(2).unflatten(-1, (c.o_groups, -1)), self.o_a.to(dt)).flatten(2)
        return self.o_b(low)


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
        self.register_buffer("by_hash", torch.tensor(hashed), persistent=False)
        if hashed:
            g = torch.Generator().manual_seed(99 + layer)
            self.register_buffer("table", torch.rand(c.n_vocab, E, generator=g).argsort(1)[:, :c.n_used].to(torch.int32))

    def swiglu(self, g, u):
        L = self.c.swiglu_limit
        return F.silu(g.clamp(max=L)) * u.clamp(-L, L)

    def forced(self, tokens):
        """The experts that the token's id names, [..., k]; zeros where the router decides."""
        return self.table[tokens].long() if self.hashed else tokens.unsqueeze(-1).expand(*tokens.shape, self.c.n_used) * 0

    def forward(self, x, forced):
        c = self.c
        with torch.autocast("cuda", enabled=False):
            p = torch.sqrt(F.softplus(x.float() @ self.router.T))
        pick = torch.where(self.by_hash, forced, (p.detach() + self.bias).topk(c.n_used, -1).indices)
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
    """One layer. `before` and `after` work on tokens alone, so that one compiled version serves rows of every length."""

    def __init__(self, c, ratio, hashed, layer):
        super().__init__()
        self.c = c
        self.hc_attn, self.hc_ffn = HyperMix(c), HyperMix(c)
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(c.n_embd)), nn.Parameter(torch.ones(c.n_embd))
        self.attn = Attention(c, ratio)
        self.moe = Experts(c, hashed, layer)

    def before(self, x, angle, official):
        a, post, comb = self.hc_attn(x)
        n = rms(a, self.c.rms_eps, self.attn_norm).to(x.dtype)
        return n, post, comb, *self.attn.project(n, angle, official)

    def after(self, x, o, lse, angle, post, comb, forced):
        x = HyperMix.merge(x, self.attn.project_out(o, lse, angle, x.dtype), post, comb).to(x.dtype)
        a, post, comb = self.hc_ffn(x)
        y, load = self.moe(rms(a, self.c.rms_eps, self.ffn_norm).to(x.dtype), forced)
        return HyperMix.merge(x, y, post, comb).to(x.dtype), load

    def forward(self, x, tokens, angle, official, index_on, picks, block_mask, fast):
        """x [B, T, m, d], angle [T, R/2]. fast: the compiled versions."""
        B, T = tokens.shape
        flat, each = x.flatten(0, 1).unsqueeze(0), angle.repeat(B, 1)
        before, compress, after = (BEFORE, COMPRESS, AFTER) if fast else (Block.before, Attention.compress, Block.after)
        n, post, comb, q, k, qr = before(self, flat, each, official)
        rows = idx = None
        if self.attn.ratio:
            rows, idx = compress(self.attn, n.view(B, T, -1), qr.view(B, T, -1), angle, official, index_on)
        o, lse, loss = self.attn.attend(q.view(B, T, *q.shape[2:]), k.view(B, T, -1), rows, idx, picks, block_mask, fast)
        o, lse = o.transpose(1, 2).reshape(q.shape), lse.transpose(1, 2).reshape(q.shape[:3])
        y, load = after(self, flat, o, lse, each, post, comb, self.moe.forced(tokens.reshape(1, -1)))
        return y.view(x.shape), loss, load


BEFORE = torch.compile(Block.before, dynamic=False)
COMPRESS = torch.compile(Attention.compress, dynamic=False)
AFTER = torch.compile(Block.after, dynamic=False)
BLOCKED = torch.compile(blocked, dynamic=False)
FLEX = torch.compile(flex_attention, dynamic=False)


class Head(nn.Module):
    """Section 9: one vector of the streams, normed."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.fn = nn.Parameter(torch.randn(c.n_hc, c.n_hc * c.n_embd) * 0.01)
        self.base = nn.Parameter(torch.zeros(c.n_hc))
        self.scale = nn.Parameter(torch.ones(1))
        self.norm = nn.Parameter(torch.ones(c.n_embd))

    def forward(self, x):
        x = x.float()
        u = rms(x.flatten(-2), self.c.rms_eps)
        pre = torch.sigmoid((u @ self.fn.T) * self.scale[0] + self.base) + self.c.hc_eps
        return rms((pre.unsqueeze(-1) * x).sum(-2), self.c.rms_eps, self.norm)


class Draft(nn.Module):
    """Section 10: from the trunk's streams at t and the token t + 1 a guess at token t + 2."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.block = Block(c, 0, False, 0)
        self.e_proj, self.h_proj = nn.Linear(c.n_embd, c.n_embd, bias=False), nn.Linear(c.n_embd, c.n_embd, bias=False)
        self.enorm, self.hnorm = nn.Parameter(torch.ones(c.n_embd)), nn.Parameter(torch.ones(c.n_embd))
        self.head = Head(c)

    def forward(self, x, embedded, following, angle, official, block_mask, fast):
        dt = x.dtype
        e = self.e_proj(rms(embedded.float(), self.c.rms_eps, self.enorm).to(dt))
        x = e.unsqueeze(-2) + self.h_proj(rms(x.float(), self.c.rms_eps, self.hnorm).to(dt))
        x, _, load = self.block(x.to(dt), following, angle, official, False, None, block_mask, fast)
        return self.head(x), load


class Network(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.n_vocab, c.n_embd))
        self.blocks = nn.ModuleList(Block(c, r, i < c.n_hash, i) for i, r in enumerate(c.ratios))
        self.head = Head(c)
        self.draft = Draft(c) if c.n_mtp else None
        self.output = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) / math.sqrt(c.n_embd) * 0.5)
        self.masks = {}

    def angles(self, T, base, device, yarn=False):
        """Section 3; the frequencies in float32, in the specification's order."""
        c, n = self.c, self.c.n_rot
        f = 1 / torch.pow(torch.tensor(base, device=device), torch.arange(0, n, 2, device=device, dtype=torch.float32) / n)
        if yarn and c.yarn_factor > 1:
            at = [n * math.log(c.yarn_original / (b * 2 * math.pi)) / (2 * math.log(base)) for b in (c.yarn_fast, c.yarn_slow)]
            low, high = max(math.floor(at[0]), 0), min(math.ceil(at[1]), n - 1)
            ramp = ((torch.arange(n // 2, device=device) - low) / (high - low if high > low else 0.001)).clamp(0, 1)
            f = f / c.yarn_factor * ramp + f * (1 - ramp)
        return torch.arange(T, device=device, dtype=torch.float32)[:, None] * f[None]

    def mask(self, T, ratio, device):
        if (T, ratio) not in self.masks:
            self.masks[T, ratio] = mask_of(T, T // ratio if ratio else 0, ratio, self.c.window, device)
        return self.masks[T, ratio]

    def forward(self, tokens, official=False, index_on=False, checkpoint=False, picks=None, following=None, flex=False, fast=False):
        """tokens [B, T], T a multiple of the window. Returns the final hidden [B, T, d], the draft's or None (if `following`,
        the tokens one later, are given), the index loss, the loads [layers, E]."""
        c, T = self.c, tokens.shape[1]
        flat, comp = self.angles(T, c.rope_base, tokens.device), self.angles(T, c.crope_base, tokens.device, True)
        dt = torch.bfloat16 if tokens.is_cuda else torch.float32
        x = self.embed[tokens].unsqueeze(2).expand(-1, -1, c.n_hc, -1).to(dt)
        total, loads = 0.0, []

        def run(part, *args):
            return recompute(part, *args, use_reentrant=False) if checkpoint else part(*args)

        for i, block in enumerate(self.blocks):
            r = c.ratios[i]
            block.attn.keep, block.attn.kept = checkpoint, None
            x, loss, load = run(block, x, tokens, comp if r else flat, official, index_on, picks,
                                self.mask(T, r, tokens.device) if flex else None, fast)
            total = total + loss
            loads.append(load)
        drafted = None
        if following is not None and self.draft is not None:
            drafted, load = run(self.draft, x, self.embed[following], following, flat, official,
                                self.mask(T, 0, tokens.device) if flex else None, fast)
            loads.append(load)
        return run(self.head, x), drafted, total, torch.stack(loads)

    def logits(self, h):
        return h @ self.output.T
