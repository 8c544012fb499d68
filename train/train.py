"""Trains ds4-mini on generated conversations, in sessions: each goes on where the last one left off.

    python train.py --state DIR [--resume DIR|FILE.gguf] [--out DIR] --seconds N [--decay N] [--long-every K] [--side W]

The last session gives --decay: the learning rate falls to nothing over its last N seconds. Every half minute --state
receives the whole state, and --out (if given) the weights alone in parts of less than 15 MiB."""
import argparse
import glob
import json
import math
import multiprocessing as mp
import os
import pathlib
import random
import time
from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F

import network
import tasks
import tokenizer

HERE = pathlib.Path(__file__).parent
PART = 14 << 20


# ------------------------------------------------------------------ data

def packed_row(tok, dice, mix, length):
    """length + 1 tokens and their weights: conversations one after the other, the first at position 0."""
    ids, weights = [], []
    while len(ids) <= length:
        system, tools, turns = tasks.conversation(dice, mix, max(600, length - len(ids)))
        i, w = tokenizer.render(tok, system, tools, turns, tokenizer.think_plan(dice, tools))
        ids += i
        weights += w
    return np.array(ids[:length + 1], np.int16), np.array(weights[:length + 1], np.uint8)


def feed(seed, queue, lengths, mix, vocabulary):
    """A worker: rows of one of the lengths for ever. mix is shared and changes under way."""
    tok = tokenizer.Tokenizer.load(vocabulary)
    dice = random.Random(seed)
    batch, length = lengths
    while True:
        rows = [packed_row(tok, dice, list(mix) if length < 4096 else [0.15, 0.15, 0.7], length) for _ in range(batch)]
        queue.put(tuple(np.stack(x) for x in zip(*rows)))


def item(tok, skill, dice):
    """(ids, weights) of one held-out prompt with the wanted answer; only the last answer counts."""
    system, tools, think = dice.choice(tasks.SYSTEMS), [], skill.endswith("think")
    kind = skill.split("_")[0]
    if kind == "talk":
        turns = tasks.talk(dice, held_out=True)
    elif kind == "sum":
        turns = tasks.arithmetic(dice, held_out=True)[0]
    elif kind in ("call", "result"):
        made = tasks.make_tools(dice)
        tools = [t for t, _ in made]
        turns = tasks.tool_turns(dice, made)[0]
        turns = turns[:2] if kind == "call" else turns
    else:
        n = int(skill.split("_")[1]) // 11 - 8
        n_facts = dice.choice((1, 2, 3, 4))
        system, turns, _ = tasks.recall(dice, n, n_facts, 1)
    last = len(turns) - 1
    ids, weights = tokenizer.render(tok, system, tools, turns, lambda i: "yes" if think else "no")
    before = len(tokenizer.render(tok, system, tools, turns[:last], lambda i: "yes" if think else "no")[0])
    return ids, [0] * before + weights[before:]


SKILLS = {"talk": 128, "talk_think": 64, "sum": 256, "sum_think": 128, "call": 128, "call_think": 128, "result": 96,
          "result_think": 96, "recall_500": 96, "recall_1500": 64, "recall_4000": 48, "recall_6000": 48,
          "recall_6000_think": 48}


QUICK = [s for s in SKILLS if s not in ("recall_4000", "recall_6000", "recall_6000_think")]


def evaluation_items(queue, vocabulary, share):
    tok = tokenizer.Tokenizer.load(vocabulary)
    dice = random.Random(777001)
    queue.put({s: [item(tok, s, dice) for _ in range(max(2, int(n * share)))] for s, n in SKILLS.items()})


# ------------------------------------------------------------------ optimiser

class Muon:
    """Momentum, orthogonalised (Newton-Schulz), for matrices; equal shapes go through together. The update is scaled to
    the usual size of an Adam step, so one learning rate serves both."""

    def __init__(self, params):
        self.groups = {}
        for p in params:
            self.groups.setdefault(tuple(p.shape[-2:]), []).append(p)
        self.momentum = {}

    @torch.no_grad()
    def step(self, lr, beta=0.95, decay=0.02):
        for shape, params in self.groups.items():
            g = torch.cat([p.grad.reshape(-1, *shape) for p in params])
            m = self.momentum.get(shape)
            if m is None:
                m = self.momentum[shape] = torch.zeros_like(g)
            m.lerp_(g, 1 - beta)
            u = g.lerp(m, beta)
            x = u.bfloat16() if u.is_cuda else u
            tall = shape[0] > shape[1]
            x = x.mT if tall else x
            x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            x = (x.mT if tall else x).float() * (0.2 * math.sqrt(max(shape)))
            at = 0
            for p in params:
                n = p.numel() // (shape[0] * shape[1])
                p.mul_(1 - lr * decay).add_(x[at:at + n].reshape(p.shape), alpha=-lr)
                at += n


def is_matrix(name, p):
    small = ("hc_", "router", "ape", "idx_proj", "embed", "output")
    return p.ndim >= 2 and min(p.shape[-2:]) >= 32 and not any(s in name for s in small)


# ------------------------------------------------------------------ state on disk

def save(net, muon, adam, progress, state, out):
    if state:
        path = pathlib.Path(state) / "full.pt"
        torch.save({"model": net.state_dict(), "muon": muon.momentum, "adam": adam.state_dict(), "progress": progress,
                    "config": asdict(net.c)}, str(path) + ".new")
        os.replace(str(path) + ".new", path)
    if out:
        weights = {k: v if v.dtype == torch.int32 else v.half() for k, v in net.state_dict().items()}
        path = pathlib.Path(out) / "weights.pt"
        torch.save({"model": weights, "progress": progress, "config": asdict(net.c)}, path)
        data = path.read_bytes()
        path.unlink()
        for i in range(0, len(data), PART):
            (pathlib.Path(out) / f"weights.pt.{i // PART}").write_bytes(data[i:i + PART])


def load(directory):
    """The newest state in a directory: full.pt, or weights.pt.0, .1, ... joined; or a GGUF file that export.py wrote.
    None if there is none."""
    if str(directory).endswith(".gguf"):
        import export
        model = {k: torch.from_numpy(v) for k, v in export.read(directory).items()}
        return {"model": model, "progress": {"seconds": 0.0, "step": 0, "tokens": 0}}
    full = pathlib.Path(directory) / "full.pt"
    if full.exists():
        return torch.load(full, map_location="cpu", weights_only=False)
    parts = sorted(glob.glob(str(pathlib.Path(directory) / "weights.pt.?")))
    if not parts:
        return None
    import io
    return torch.load(io.BytesIO(b"".join(pathlib.Path(p).read_bytes() for p in parts)), map_location="cpu", weights_only=False)


# ------------------------------------------------------------------ evaluation

@torch.no_grad()
def evaluate(net, items, device, autocast):
    """Share of items whose whole answer is the greedy one."""
    scores = {}
    for skill, rows in items.items():
        rows = sorted(rows, key=lambda r: len(r[0]))
        good, at = 0, 0
        while at < len(rows):
            per = 48 if len(rows[at][0]) < 1000 else 12 if len(rows[at][0]) < 2500 else 2
            batch = rows[at:at + per]
            at += per
            longest = max(len(i) for i, _ in batch)
            T = -(-longest // 128) * 128
            ids = torch.ones(len(batch), T + 1, dtype=torch.long)
            weights = torch.zeros(len(batch), T + 1, dtype=torch.bool)
            for k, (i, w) in enumerate(batch):
                ids[k, :len(i)] = torch.tensor(i)
                weights[k, :len(w)] = torch.tensor(w, dtype=torch.bool)
            ids, weights = ids.to(device), weights.to(device)
            with autocast():
                h, _, _ = net(ids[:, :-1], official=True, index_on=True)
                pick = net.logits(h).argmax(-1)
            good += int(((pick == ids[:, 1:]) | ~weights[:, 1:]).all(1).sum())
        scores[skill] = good / len(rows)
    return scores


def new_mix(scores):
    """Weights of tasks.KINDS: what is weak gets more."""
    worst = {"chat": min(scores[s] for s in scores if s[:3] in ("tal", "sum")),
             "tools": min(scores[s] for s in scores if s[:3] in ("cal", "res")),
             "recall": min(scores[s] for s in ("recall_500", "recall_1500"))}
    base = {"chat": 1.6, "tools": 2.0, "recall": 0.8}  # a chat is much shorter than the others
    return [base[k] * (0.3 + 1 - worst[k]) for k in tasks.KINDS]


# ------------------------------------------------------------------ the loop

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", required=True)
    ap.add_argument("--resume", default="")
    ap.add_argument("--out", default="")
    ap.add_argument("--seconds", type=float, default=580)
    ap.add_argument("--decay", type=float, default=0, help="seconds; 0: a constant learning rate")
    ap.add_argument("--long-every", type=int, default=0, help="every K-th step has rows of 8192 tokens too; 0: never")
    ap.add_argument("--side", type=float, default=0.0, help="weight of what others say, relative to the model's own words")
    ap.add_argument("--lr", type=float, default=4e-3)
    ap.add_argument("--workers", type=int, default=12)
    ap.add_argument("--eval-every", type=float, default=90)
    ap.add_argument("--eager", action="store_true")
    ap.add_argument("--tiny", action="store_true", help="a very small net and short rows, to test this program")
    args = ap.parse_args()
    begun = time.time()
    pathlib.Path(args.state).mkdir(parents=True, exist_ok=True)
    vocabulary = str(HERE / "vocabulary.json")
    short, long = ((16, 2048), (2, 8192)) if not args.tiny else ((2, 256), (1, 512))
    mix = mp.Array("d", [0.6, 1.0, 0.3])
    short_queue, long_queue, items_queue = mp.Queue(24), mp.Queue(12), mp.Queue()
    seed = int(time.time() * 1000) % 10 ** 9 * 100
    jobs = [(feed, (seed + i, short_queue, short, mix, vocabulary)) for i in range(args.workers * 2 // 3 or 1)] + \
           [(feed, (seed + 50 + i, long_queue, long, mix, vocabulary)) for i in range(args.workers // 3 or 1)] + \
           [(evaluation_items, (items_queue, vocabulary, 0.02 if args.tiny else 1.0))]
    for target, a in jobs:
        mp.Process(target=target, args=a, daemon=True).start()

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(1)
    c = network.Config() if not args.tiny else network.Config(ratios=[0, 4, 128], n_expert=4, head_dim=128)
    net = network.Network(c).to(device)
    matrices = [p for n, p in net.named_parameters() if is_matrix(n, p)]
    others = [p for n, p in net.named_parameters() if not is_matrix(n, p)]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=cuda)
    progress = {"seconds": 0.0, "step": 0, "tokens": 0}
    data = load(args.state) or (load(args.resume) if args.resume else None)
    if data:
        net.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in data["model"].items()})
        progress = data["progress"]
        if "muon" in data:
            muon.momentum = {k: v.to(device) for k, v in data["muon"].items()}
            adam.load_state_dict(data["adam"])
    print(sum(p.numel() for p in net.parameters()), "parameters; progress", progress, flush=True)
    rewarm = progress["step"] if data and "muon" not in data else -10 ** 9

    if cuda and not args.eager:
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.accumulated_recompile_limit = 512
        for block in net.blocks:
            block.compile(dynamic=False)

    def autocast():
        return torch.autocast(device, torch.bfloat16, enabled=cuda)

    def micro(batch, side_weight, total_weight):
        ids = torch.from_numpy(batch[0].astype(np.int64)).to(device, non_blocking=True)
        weights = torch.from_numpy(batch[1].astype(np.float32)).to(device, non_blocking=True)[:, 1:]
        weights = weights + side_weight * (1 - weights)
        with autocast():
            h, index_loss, loads = net(ids[:, :-1], official=True, index_on=True, checkpoint=cuda and ids.shape[1] > 4096)
            logits = net.logits(h)
        each = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(weights.shape)
        loss = (each * weights).sum() / total_weight
        (loss + 0.1 * index_loss / 2).backward()
        with torch.no_grad():
            right = (logits.argmax(-1) == ids[:, 1:]) | (weights < 1)
            hits = right.sum() - (weights < 1).sum()
        return loss.detach(), hits, (weights == 1).sum(), index_loss.detach(), loads.detach()

    items, log = None, {"loss": 0.0, "n": 0}
    start, offset = time.time(), progress["seconds"]
    stop = begun + args.seconds
    last_save, last_eval, last_print, last_tokens = time.time(), time.time(), time.time(), progress["tokens"]

    def run_evaluation(full=False):
        nonlocal items
        if items is None:
            items = items_queue.get()
        t = time.time()
        with torch.compiler.set_stance("force_eager"):
            chosen = {k: v for k, v in items.items() if full or k in QUICK}
            scores = evaluate(net, chosen, device, autocast)
        mix[:] = new_mix(scores)
        print("EVAL", progress["step"], json.dumps({k: round(v, 3) for k, v in scores.items()}), "mix",
              [round(m, 2) for m in mix], f"{time.time() - t:.1f} s", flush=True)
        return scores

    slack = 22 if not args.tiny else 8
    while time.time() < stop - slack:
        left = (stop - slack - time.time()) / args.decay if args.decay else 1.0
        warm = min(1.0, (progress["step"] - max(rewarm, 0) + 1) / 150)
        lr = args.lr * warm * min(1.0, max(0.01, left))
        side = args.side
        batches = [short_queue.get(), short_queue.get()]
        if args.long_every and progress["step"] % args.long_every == 0:
            batches.append(long_queue.get())
        total_weight = sum(float(w[:, 1:].sum()) + side * float((1 - w[:, 1:]).clip(0, 1).sum()) for _, w in batches)
        total_weight, loads = max(1.0, total_weight), 0
        for batch in batches:
            rare = batch[0].shape[1] > 4096  # compiling for these would take longer than it saves
            with torch.compiler.set_stance("force_eager" if rare else "default"):
                loss, hits, count, index_loss, busy = micro(batch, side, total_weight)
            loads = loads + busy
            log = {k: log.get(k, 0) + v for k, v in (("loss", loss), ("hits", hits), ("count", count), ("index", index_loss),
                                                      ("n", 0.5))}
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(lr)
        for group in adam.param_groups:
            group["lr"] = lr
        adam.step()
        adam.zero_grad(set_to_none=True)
        for p in matrices:
            p.grad = None
        with torch.no_grad():  # balance without a loss: a busy expert is made a little less attractive
            for block, busy in zip(net.blocks, loads):
                if not block.moe.hashed:
                    block.moe.bias += 2e-3 * min(1.0, lr / args.lr + 0.1) * torch.sign(busy.mean() - busy)
        progress["step"] += 1
        progress["tokens"] += sum(b[0].shape[0] * (b[0].shape[1] - 1) for b in batches)
        now = time.time()
        progress["seconds"] = offset + now - start
        if now - last_print > 10 or progress["step"] <= 3:
            n = float(log["n"])
            print(f"{now - begun:5.0f}s step {progress['step']} loss {float(log['loss']) / n:.4f} "
                  f"acc {float(log['hits']) / max(1.0, float(log['count'])):.4f} index {float(log['index']) / n:.2f} lr {lr:.5f} "
                  f"{(progress['tokens'] - last_tokens) / (now - last_print) / 1e3:.0f}k tok/s queues "
                  f"{short_queue.qsize()} {long_queue.qsize()} "
                  f"load {float(loads[1:].max() / loads[1:].mean()):.2f}"
                  + (f" mem {torch.cuda.max_memory_allocated() / 2**30:.0f}G" if cuda else ""), flush=True)
            last_print, last_tokens, log = now, progress["tokens"], {}
        if now - last_eval > args.eval_every:
            run_evaluation()
            last_eval = time.time()
        if now - last_save > 30:
            save(net, muon, adam, progress, args.state, args.out)
            last_save = time.time()
    save(net, muon, adam, progress, args.state, args.out)
    print("saved; final evaluation", flush=True)
    run_evaluation(full=True)


if __name__ == "__main__":
    main()
