"""The training module against the NumPy oracle: the same weights, a random sequence, exact and official roundings.

    python check_oracle.py PATH/dsv4_oracle.py [STATE-DIRECTORY]"""
import importlib.util
import sys

import numpy as np
import torch

import export
import network


def oracle_config(O, c):
    out = dict(O.BASE)
    out.update(n_layer=c.n_layer, n_embd=c.n_embd, n_vocab=c.n_vocab, n_head=c.n_head, head_dim=c.head_dim, n_rot=c.n_rot,
               q_lora=c.q_lora, o_lora=c.o_lora, o_groups=c.o_groups, window=c.window, ratios=c.ratios,
               n_idx_head=c.n_idx_head, idx_dim=c.idx_dim, idx_topk=c.idx_topk, n_expert=c.n_expert, n_used=c.n_used,
               n_ff=c.n_ff, n_hash=c.n_hash, route_scale=c.route_scale, swiglu_limit=c.swiglu_limit, n_hc=c.n_hc,
               sinkhorn=c.sinkhorn, hc_eps=c.hc_eps, rms_eps=c.rms_eps, rope_base=c.rope_base, crope_base=c.crope_base,
               yarn_factor=1.0, n_mtp=0)
    return out


def main():
    spec = importlib.util.spec_from_file_location("oracle", sys.argv[1])
    O = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(O)
    torch.manual_seed(1)
    if len(sys.argv) > 2:
        c, sd = export.load(sys.argv[2])
        net = network.Network(c)
        net.load_state_dict({k: torch.tensor(v) for k, v in sd.items()})
    else:
        c = network.Config(n_vocab=300, ratios=[0, 4, 128, 4], n_expert=4, idx_topk=50)
        net = network.Network(c)
        for p in net.parameters():  # nothing may stay at a value that hides a mistake
            p.data += 0.05 * torch.randn_like(p)
        sd = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    w = {n: np.asarray(x, np.int32 if k == export.T_I32 else np.float64) for n, x, k in export.tensors(c, sd)}
    tokens = np.random.default_rng(0).integers(9, c.n_vocab, 384)
    oc = oracle_config(O, c)
    with torch.no_grad():
        for official in (False, True):
            h, _, _ = net(torch.tensor(tokens)[None], official=official, index_on=True)
            got = net.logits(h)[0].numpy()
            want = O.forward(oc, w, tokens.tolist(), "official" if official else "exact")
            each = np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)
            print("median of positions", np.median(each), "worst", each.max(), "at", each.argmax())
            print("official" if official else "exact   ", "relative L2", O.rel(got, want),
                  "argmax equal", float((got.argmax(1) == want.argmax(1)).mean()))


if __name__ == "__main__":
    main()
