"""Trains ds4-mini on generated conversations and on the corpus, in sessions: each goes on where the last one left off.

    python train.py --state DIR --corpus corpus.txt.xz [--resume DIR|FILE.gguf] [--out DIR] --seconds N [--decay N]
                    [--mid-every K] [--long-every K] [--side W] [--gpus N]

With several GPUs one process a GPU is started; each step averages their gradients. The last session gives --decay: the
learning rate falls to nothing over its last N seconds. Every half minute --state receives the whole state, and --out (if
given) the model as a GGUF file in parts of 14 MiB, from which --resume can go on as well."""
import argparse
import glob
import json
import math
import multiprocessing as mp
import os
import pathlib
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import agents
import corpus
import export
import minute
import mixture
import network
import rows
import tokenizer
import toolwords

HERE = pathlib.Path(__file__).parent
PART = 14 << 20
SHAPES = {"short": (8, 4096), "mid": (2, 16384), "long": (1, 65536)}  # rows of a step on one GPU, and their length
TINY = {"short": (2, 512), "mid": (1, 1024), "long": (1, 2048)}

# ------------------------------------------------------------------ data


def render(tok, dice, kind, room):
    """(ids, weights) of one conversation; weight 2: plain text, learned with less weight."""
    if kind == "text":
        ids = [tokenizer.BOS] + tok.encode(mixture.plain_text(dice, room)) + [tokenizer.EOS]
        return ids, [2] * len(ids)
    system, form, tools, turns = mixture.conversation(dice, kind, room)
    effort = "max" if dice.random() < 0.04 else None
    plan = (lambda i: "yes") if effort else tokenizer.think_plan(dice, tools)
    return tokenizer.render(tok, system, tools, turns, plan, form, effort)


def packed_row(tok, dice, length, seen):
    """length + 1 tokens and their weights: conversations one after the other, the first at position 0. `seen` counts the
    tokens of each kind so far: what is behind its share comes next."""
    ids, weights = [], []
    long = length > 8192
    shares = {k: s[long] for k, s in mixture.SHARES.items() if s[long]}
    while len(ids) <= length:
        left = length - len(ids)
        if left < 350 and ids:
            kind = "chat"
        elif not ids and length > 30000:
            kind = dice.choice(("note", "note", "long", "agent"))
        else:
            kind = max(shares, key=lambda k: shares[k] - seen.get(k, 0) / (seen["all"] + 1))
        room = left
        for _ in range(4):
            i, w = render(tok, dice, kind, room)
            if len(i) <= left + 1 or kind in ("chat", "text"):
                break
            room = int(room * 0.7)  # it did not fit: another one, for less room
        seen[kind] = seen.get(kind, 0) + len(i)
        seen["all"] += len(i)
        ids += i
        weights += w
    return np.array(ids[:length + 1], np.int16), np.array(weights[:length + 1], np.uint8)


def feed(seed, out, shape):
    """A worker: rows of one shape for ever."""
    tok = tokenizer.Tokenizer.load(HERE / "vocabulary.json")
    dice, seen = random.Random(seed), {"all": 0}
    while True:
        made = [packed_row(tok, dice, shape[1], seen) for _ in range(shape[0])]
        out.put(tuple(np.stack(x) for x in zip(*made)))


def item(tok, skill, seed):
    """(ids, weights) of one held-out prompt with the wanted answer; only the last answer counts."""
    it = rows.item(skill, seed)
    think = (lambda i: "yes") if skill.endswith("think") else (lambda i: "no")
    args = it["system"], it["tools"], it["turns"]
    ids, weights = tokenizer.render(tok, *args, think, it["form"])
    before = max(i for i, t in enumerate(ids) if t == tokenizer.ASSISTANT)
    return ids, [0] * before + weights[before:]


def first_minute(tok, seed):
    dice = random.Random(f"minute/{seed}")
    question, answer = minute.question(dice)
    ids, weights = tokenizer.render(tok, dice.choice(mixture.SYSTEMS), [],
                                    [mixture.user(question), mixture.assistant(answer)], lambda i: "no")
    return ids, weights


TEACHER = [
    "sum2", "sum3", "sum3_think", "call", "result", "unseen", "unseen_think", "many", "none", "several", "retry", "answer", "agent",
    "agent_long", "schema", "own", "recall_500", "recall_1500", "recall_6000", "notes_2000", "notes_6000"
]


def evaluation_items(out, n):
    tok = tokenizer.Tokenizer.load(HERE / "vocabulary.json")
    items = {
        s: [
            item(tok, s, 777000 + i)
            for i in range(n if s not in ("many", "agent_long", "recall_6000", "notes_6000") else max(1, n // 2))
        ]
        for s in TEACHER
    }
    items["minute"] = [first_minute(tok, 777000 + i) for i in range(n * 3)]
    items["notes_60000"] = [item(tok, "notes_60000", 777000 + i) for i in range(max(1, n // 4))]
    out.put(items)


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
    small = ("hc_", "head.", "router", "ape", "idx_proj", "embed", "output")
    return p.ndim >= 2 and min(p.shape[-2:]) >= 32 and not any(s in name for s in small)


# ------------------------------------------------------------------ state on disk


class Saver:
    """Writes the state from a thread, from copies in the host's memory; a save is skipped while the one before is under way."""

    def __init__(self, net, muon, adam, tok, state, out):
        self.parts, self.tok, self.state, self.out, self.thread = (net, muon, adam), tok, state, out, None

    def __call__(self, progress, wait=False):
        if self.thread and (wait or not self.thread.is_alive()):
            self.thread.join()
            self.thread = None
        if self.thread:
            return
        net, muon, adam = self.parts
        host = lambda d: {k: v.detach().cpu().clone() for k, v in d.items()}
        data = {"model": host(net.state_dict()), "muon": host(muon.momentum), "progress": dict(progress), "config": asdict(net.c)}
        state = adam.state_dict()
        data["adam"] = {
            "state": {i: {k: v.cpu().clone()
                          for k, v in s.items()}
                      for i, s in state["state"].items()}, "param_groups": state["param_groups"]
        }
        self.thread = threading.Thread(target=self.write, args=(data, net.c))
        self.thread.start()
        if wait:
            self.thread.join()

    def write(self, data, c):
        path = pathlib.Path(self.state) / "full.pt"
        torch.save(data, str(path) + ".new")
        os.replace(str(path) + ".new", path)
        if not self.out:
            return
        file = export.whole(c, self.tok,
                            {k: v.float().numpy() if v.is_floating_point() else v.numpy()
                             for k, v in data["model"].items()})
        for i in range(0, len(file), PART):
            path = pathlib.Path(self.out) / f"ds4-mini.gguf.{i // PART}"
            path.with_suffix(".new").write_bytes(file[i:i + PART])
            os.replace(path.with_suffix(".new"), path)


def load(directory):
    """The state in a directory: full.pt, or the parts ds4-mini.gguf.0, .1, ... joined; or a GGUF file that export.py wrote.
    None if there is none. From a file the weights come as it rounds them, and without the optimiser's memory."""
    parts = sorted(glob.glob(str(pathlib.Path(directory) / "ds4-mini.gguf.[0-9]")))
    if parts and not (pathlib.Path(directory) / "full.pt").exists():
        whole = pathlib.Path(tempfile.gettempdir()) / f"ds4-mini-{os.getpid()}.gguf"
        whole.write_bytes(b"".join(pathlib.Path(p).read_bytes() for p in parts))
        try:
            return load(whole)
        finally:
            whole.unlink()
    if str(directory).endswith(".gguf"):
        model = {k: torch.from_numpy(v) for k, v in export.read(directory).items()}
        return {"model": model, "progress": {"seconds": 0.0, "step": 0, "tokens": 0}}
    full = pathlib.Path(directory) / "full.pt"
    if full.exists():
        return torch.load(full, map_location="cpu", weights_only=False)
    return None


# ------------------------------------------------------------------ evaluation


@torch.no_grad()
def evaluate(net, items, device, autocast):
    """Share of items whose whole answer is the greedy one, the right words before it given."""
    scores = {}
    for skill, made in items.items():
        made = sorted(made, key=lambda r: len(r[0]))
        good, at = 0, 0
        while at < len(made):
            n = len(made[at][0])
            per = 48 if n < 700 else 16 if n < 1500 else 4 if n < 4200 else 1
            batch = made[at:at + per]
            at += per
            longest = max(len(i) for i, _ in batch)
            T = next((t for t in (256, 512, 1024, 2048, 4096, 8192, 16384, 65536) if t >= longest), 65536)
            ids = torch.ones(len(batch), T + 1, dtype=torch.long)
            weights = torch.zeros(len(batch), T + 1, dtype=torch.bool)
            for k, (i, w) in enumerate(batch):
                i, w = i[-T - 1:], w[-T - 1:]
                ids[k, :len(i)] = torch.tensor(i)
                weights[k, :len(w)] = torch.tensor(w, dtype=torch.bool)
            ids, weights = ids.to(device), weights.to(device)
            with autocast():
                h = net(ids[:, :-1], official=True, index_on=True, flex=T > 4096 and device == "cuda")[0]
                where = weights[:, 1:]
                right = net.logits(h[where]).argmax(-1) == ids[:, 1:][where]
            each = torch.zeros(len(batch), device=device).index_add_(0, where.nonzero()[:, 0], (~right).float())
            good += int((each == 0).sum())
        scores[skill] = good / len(made)
    return scores


# ------------------------------------------------------------------ the loop


def cross_entropy(h, output, wanted, weights):
    """(weighted sum, hits where the model speaks) over [N, d]."""
    logits = (h @ output.T).float()
    each = F.cross_entropy(logits, wanted, reduction="none")
    hits = ((logits.argmax(-1) == wanted) & (weights == 1)).sum()
    return (each * weights).sum(), hits


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", required=True)
    ap.add_argument("--corpus", default="")
    ap.add_argument("--resume", default="")
    ap.add_argument("--out", default="")
    ap.add_argument("--seconds", type=float, default=560, help="from the start of the program")
    ap.add_argument("--decay", type=float, default=0, help="seconds; 0: a constant learning rate")
    ap.add_argument("--mid-every", type=int, default=6, help="every K-th step has rows of 16,384 tokens; 0: never")
    ap.add_argument("--long-every", type=int, default=0, help="every K-th step has rows of 65,536 tokens; 0: never")
    ap.add_argument("--side", type=float, default=0.1, help="weight of what others say, relative to the model's own words")
    ap.add_argument("--lr", type=float, default=4e-3)
    ap.add_argument("--workers", type=int, default=13, help="processes that make data, for each GPU")
    ap.add_argument("--eval-every", type=float, default=120)
    ap.add_argument("--save-every", type=float, default=30)
    ap.add_argument("--eval-n", type=int, default=32)
    ap.add_argument("--gpus", type=int, default=0, help="0: all")
    ap.add_argument("--eager", action="store_true")
    ap.add_argument("--tiny", action="store_true", help="a very small net and short rows, to test this program")
    ap.add_argument("--rank", type=int, default=-1, help=argparse.SUPPRESS)
    return ap.parse_args()


def take(out, pool, dice):
    """The next batch; while the makers are behind, one that was used once before."""
    try:
        batch = out.get_nowait()
    except queue.Empty:
        if len(pool) > 8:
            return pool.pop(dice.randrange(len(pool))), True
        batch = out.get()
    pool.append(batch)
    if len(pool) > 200:
        pool.pop(0)
    return batch, False


def main():
    args = arguments()
    begun = float(os.environ.get("TRAIN_BEGUN", time.time()))
    gpus = torch.cuda.device_count() if args.gpus == 0 else args.gpus
    if gpus > 1 and args.rank < 0:
        env = dict(os.environ, TRAIN_BEGUN=str(begun), MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", WORLD_SIZE=str(gpus))
        jobs = [subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--rank", str(r)], env=env) for r in range(gpus)]
        sys.exit(max(j.wait() for j in jobs))
    rank, world = max(0, args.rank), gpus if args.rank >= 0 else 1
    pathlib.Path(args.state).mkdir(parents=True, exist_ok=True)
    if args.corpus:
        found = corpus.load(args.corpus)
        lexicon = found.pop("lexicon", None)
        if lexicon:
            minute.LEXICON = minute.Lexicon(**json.loads(lexicon[0]))
            toolwords.NOUNS[:] = minute.LEXICON.nouns
        agents.CORPUS.update(found)
    shapes = TINY if args.tiny else SHAPES
    queues = {k: mp.Queue(16) for k in shapes}
    items_queue = mp.Queue()
    seed = int(time.time() * 1000) % 10**9 * 1000 + rank * 500
    per = {
        "short": max(1, args.workers * 9 // 13), "mid": max(1, args.workers * 3 // 13) if args.mid_every else 0, "long":
        1 if args.long_every else 0
    }
    jobs = [(feed, (seed + i * 7 + j, queues[k], shapes[k])) for j, k in enumerate(shapes) for i in range(per[k])]
    if rank == 0:
        jobs.append((evaluation_items, (items_queue, 2 if args.tiny else args.eval_n)))
    makers = [mp.Process(target=target, args=a, daemon=True) for target, a in jobs]
    for maker in makers:
        maker.start()

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank)
    device = "cuda" if cuda else "cpu"
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", rank=rank, world_size=world)
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
    if rank == 0:
        print(sum(p.numel() for p in net.parameters()),
              "parameters; progress",
              progress,
              f"{time.time() - begun:.0f} s",
              flush=True)
    rewarm = progress["step"] if data and "muon" not in data else -10**9
    fast = cuda and not args.eager
    if fast:
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.accumulated_recompile_limit = 512
    losses = torch.compile(cross_entropy, dynamic=False) if fast else cross_entropy

    def autocast():
        return torch.autocast(device, torch.bfloat16, enabled=cuda)

    def micro(batch, side, total_weight):
        ids = torch.from_numpy(batch[0].astype(np.int64)).to(device, non_blocking=True)
        code = torch.from_numpy(batch[1]).to(device, non_blocking=True).long()
        weights = torch.tensor([side, 1.0, 0.4], device=device)[code][:, 1:]
        T = ids.shape[1] - 1
        long = T > 20000 and not args.tiny
        picks = torch.randint(0, T, (min(T, 256 if T < 10000 else 512), ), device=device).sort().values
        with autocast():
            h, drafted, index_loss, loads = net(ids[:, :-1],
                                                official=True,
                                                index_on=True,
                                                checkpoint=long or args.tiny and T > 1000,
                                                picks=picks,
                                                following=None if T > 10000 else ids[:, 1:].contiguous(),
                                                flex=cuda and T > 4096,
                                                fast=fast)
            loss, hits = losses(h.flatten(0, 1), net.output, ids[:, 1:].flatten(), weights.flatten())
            total = loss / total_weight + 0.05 * index_loss
            if drafted is not None:
                later = torch.cat([ids[:, 2:], ids[:, :1]], 1)  # the last position has no token two later: weight 0
                counts = torch.cat([weights[:, 1:], torch.zeros_like(weights[:, :1])], 1)
                after = losses(drafted.flatten(0, 1), net.output, later.flatten(), counts.flatten())[0]
                total = total + 0.15 * after / total_weight
        total.backward()
        return (loss / total_weight).detach(), hits, (weights == 1).sum(), index_loss.detach(), loads.detach()

    saver = Saver(net, muon, adam, tokenizer.Tokenizer.load(HERE / "vocabulary.json"), args.state, args.out)
    items, log, pools, dice = None, {}, {k: [] for k in shapes}, random.Random(seed + 499)
    start, offset = time.time(), progress["seconds"]
    stop = begun + args.seconds - (4 if args.tiny else 14)
    last_save, last_eval, last_print, last_tokens, again = time.time(), time.time(), time.time(), progress["tokens"], 0

    def run_evaluation(full=False):
        nonlocal items
        if items is None:
            items = items_queue.get()
        t = time.time()
        scores = evaluate(
            net, {k: v
                  for k, v in items.items() if full or k not in ("notes_60000", "agent_long", "notes_6000", "recall_6000")}, device,
            autocast)
        print("EVAL",
              progress["step"],
              json.dumps({k: round(v, 3)
                          for k, v in scores.items()}),
              f"{time.time() - t:.1f} s",
              flush=True)

    while True:
        now = time.time()
        left = (stop - now) / args.decay if args.decay else 1.0
        plan = torch.tensor([float(now >= stop), min(1.0, max(0.01, left))])
        if world > 1:
            dist.broadcast(plan, 0)
        if plan[0] > 0:
            break
        step = progress["step"]
        warm = min(1.0, (step - max(rewarm, 0) + 1) / 150)
        lr = args.lr * warm * float(plan[1])
        kind = "long" if args.long_every and step % args.long_every == args.long_every - 1 else "mid" if args.mid_every and step % args.mid_every == args.mid_every - 1 else "short"
        batch, second = take(queues[kind], pools[kind], dice)
        again += second
        flat = batch[1][:, 1:]
        total_weight = max(1.0, float((flat == 1).sum() + 0.4 * (flat == 2).sum() + args.side * (flat == 0).sum()))
        loss, hits, count, index_loss, loads = micro(batch, args.side, total_weight)
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        if world > 1:
            bucket = torch._utils._flatten_dense_tensors(grads)
            dist.all_reduce(bucket)
            for g, r in zip(grads, torch._utils._unflatten_dense_tensors(bucket.div_(world), grads)):
                g.copy_(r)
            dist.all_reduce(loads)
        torch.nn.utils.clip_grad_norm_([p for p in others if p.grad is not None], 1.0)
        for p in matrices:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        muon.step(lr)
        for group in adam.param_groups:
            group["lr"] = lr
        adam.step()
        adam.zero_grad(set_to_none=True)
        for p in matrices:
            p.grad = None
        with torch.no_grad():  # balance without a loss: a busy expert is made a little less attractive
            blocks = list(net.blocks) + ([net.draft.block] if net.draft else [])
            for block, busy in zip(blocks, loads):
                if not block.moe.hashed:
                    block.moe.bias += 2e-3 * float(plan[1]) * torch.sign(busy.mean() - busy)
        progress["step"] += 1
        progress["tokens"] += world * batch[0].shape[0] * (batch[0].shape[1] - 1)
        for k, v in (("loss", loss), ("hits", hits), ("count", count), ("index", index_loss), ("n", 1)):
            log[k] = log.get(k, 0) + v
        now = time.time()
        progress["seconds"] = offset + now - start
        if rank == 0 and (now - last_print > 10 or step < 5):
            n = float(log["n"])
            print(
                f"{now - begun:5.0f}s step {progress['step']} {kind} loss {float(log['loss']) / n:.4f} acc {float(log['hits']) / max(1.0, float(log['count'])):.4f} "
                f"index {float(log['index']) / n:.2f} lr {lr:.5f} {(progress['tokens'] - last_tokens) / (now - last_print) / 1e3:.0f}k tok/s queues "
                + " ".join(str(q.qsize())
                           for q in queues.values()) + f" again {again} load {float(loads[1:].max() / loads[1:].mean()):.2f}" +
                (f" mem {torch.cuda.max_memory_allocated() / 2**30:.0f}G" if cuda else ""),
                flush=True)
            last_print, last_tokens, log = now, progress["tokens"], {}
        if rank == 0 and now - last_eval > args.eval_every:
            run_evaluation()
            last_eval = time.time()
        if rank == 0 and now - last_save > args.save_every:
            saver(progress)
            last_save = time.time()
    if rank == 0:
        saver(progress, wait=True)
        print(f"saved at {time.time() - begun:.0f} s; final evaluation", flush=True)
        if time.time() < begun + args.seconds - 8:
            run_evaluation()
    for maker in makers:
        maker.kill()
    os._exit(0)  # the queues' threads would wait for readers


if __name__ == "__main__":
    main()
