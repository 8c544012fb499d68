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
               yarn_factor=c.yarn_factor, yarn_orig=c.yarn_original, n_mtp=c.n_mtp)
    return out


def compare(O, what, got, want):
    each = np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)
    print(f"{what:16} relative L2 {O.rel(got, want):.2e}, median of positions {np.median(each):.2e}, worst {each.max():.2e}, "
          f"argmax equal {(got.argmax(1) == want.argmax(1)).mean():.3f}")


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
        c = network.Config(n_vocab=300, n_embd=256, ratios=[0, 4, 128, 4], n_expert=4, idx_topk=50)
        net = network.Network(c)
        for p in net.parameters():  # nothing may stay at a value that hides a mistake
            p.data += 0.05 * torch.randn_like(p)
        sd = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    w = {n: np.asarray(x, np.int32 if k == export.T_I32 else np.float64) for n, x, k in export.tensors(c, sd)}
    tokens = np.random.default_rng(0).integers(9, c.n_vocab, 384)
    oc = oracle_config(O, c)
    ids, picks = torch.tensor(tokens)[None], torch.arange(0, 384, 3)
    following = torch.cat([ids[:, 1:], ids[:, :1]], 1)
    with torch.no_grad():
        for official in (False, True):
            num = "official" if official else "exact"
            h, drafted, _, _ = net(ids, official=official, index_on=True, picks=picks, following=following)
            want, hidden = O.step(oc, w, O.State(oc), tokens.tolist(), num, None, want_hidden=True)
            compare(O, num, net.logits(h)[0].numpy(), want)
            if c.n_mtp:
                want, _ = O.mtp_step(oc, w, O.State(oc, mtp=True), hidden[:-1], tokens[1:].tolist(), num)
                compare(O, num + ", draft", net.logits(drafted)[0, :-1].numpy(), want)


if __name__ == "__main__":
    main()
