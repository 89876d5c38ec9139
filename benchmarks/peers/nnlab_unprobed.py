"""nnlab's engine on a compare-init whose layers are not looked at: what the probes cost."""

from benchmarks.peers.nnlab_engine import compete

if __name__ == "__main__":
    compete(with_probes=False)
