"""Before a session: the fused attention against the plain one on this GPU, and the time of a step of each shape.

    python gpu_check.py [--seconds N]"""
import time

import torch

import network
import train


def compare():
    torch.manual_seed(0)
    B, H, T, D = 2, 8, 4096, 192
    for ratio in (0, 4, 128):
        q = (torch.randn(B, H, T, D, device="cuda") / 12).bfloat16().requires_grad_()
        k = torch.randn(B, T, D, device="cuda").bfloat16().requires_grad_()
        rows = torch.randn(B, T // ratio, D, device="cuda").bfloat16().requires_grad_() if ratio else None
        chosen = None
        if ratio == 4:
            seen = network.visible(torch.arange(T, device="cuda"), T // 4, 4)
            s = torch.randn(B, T, T // 4, device="cuda").masked_fill(~seen[None], -float("inf"))
            chosen = network.best(s, 512) & seen[None]
            exact = torch.zeros_like(chosen).scatter(-1, s.topk(512, -1).indices, True) & seen[None]
            print("top-k differs at", (chosen != exact).sum().item(), "of", exact.sum().item())
        mask = network.mask_of(T, T // ratio if ratio else 0, ratio, 128, "cuda")
        w = torch.randn(B, H, T, D, device="cuda")
        out = []
        for f, m in ((network.plain, None), (network.fused, mask)):
            o, lse = f(q, k, rows, chosen, ratio, 128, m)
            ((o.float() * w).sum() + lse.sum()).backward()
            out.append([o, lse, q.grad, k.grad] + ([rows.grad] if ratio else []))
            q.grad = k.grad = None
            if ratio:
                rows.grad = None
        print("ratio",
              ratio, ["%.1e" % ((a.float() - b.float()).norm() / a.float().norm()).item() for a, b in zip(*out)],
              flush=True)


def steps():
    net = network.Network(network.Config()).cuda()
    torch._dynamo.config.recompile_limit = 64
    losses = torch.compile(train.cross_entropy, dynamic=False)
    for kind, fast in (("short", True), ("mid", True), ("long", True)):
        n, T = train.SHAPES[kind]
        ids = torch.randint(0, 6000, (n, T + 1), device="cuda")
        for i in range(4):
            torch.cuda.synchronize()
            t = time.time()
            picks = torch.randint(0, T, (256, ), device="cuda").sort().values
            with torch.autocast("cuda", torch.bfloat16):
                h, d, index, _ = net(ids[:, :-1],
                                     official=True,
                                     index_on=True,
                                     checkpoint=T > 20000,
                                     picks=picks,
                                     following=None if T > 10000 else ids[:, 1:],
                                     flex=True,
                                     fast=fast)
                loss = losses(h.flatten(0, 1), net.output, ids[:, 1:].flatten(), torch.ones(n * T,
                                                                                            device="cuda"))[0] / n / T + index
                if d is not None:
                    loss = loss + losses(d[:, :-1].flatten(0, 1), net.output, ids[:, 2:].flatten(),
                                         torch.ones(n * (T - 1), device="cuda"))[0] / n / T
            loss.backward()
            torch.cuda.synchronize()
            print(kind,
                  "fast" if fast else "eager",
                  i,
                  f"{time.time() - t:.3f} s, loss {loss.item():.3f}, {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB",
                  flush=True)
        if kind == "short":
            profile(net, ids, losses)


def profile(net, ids, losses):
    from torch.profiler import ProfilerActivity, profile as record
    with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as p:
        with torch.autocast("cuda", torch.bfloat16):
            h, d, index, _ = net(ids[:, :-1],
                                 official=True,
                                 index_on=True,
                                 picks=torch.arange(0, 4096, 16, device="cuda"),
                                 following=ids[:, 1:],
                                 flex=True,
                                 fast=True)
            loss = losses(h.flatten(0, 1), net.output, ids[:, 1:].flatten(),
                          torch.ones(ids.shape[0] * (ids.shape[1] - 1), device="cuda"))[0] / 32768 + index
        loss.backward()
        torch.cuda.synchronize()
    print(p.key_averages().table(sort_by="cuda_time_total", row_limit=28, max_name_column_width=60))


if __name__ == "__main__":
    print(torch.__version__, torch.cuda.get_device_name(), torch.cuda.device_count(), flush=True)
    compare()
    steps()
