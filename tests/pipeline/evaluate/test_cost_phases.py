import time

import numpy as np
import pytest

from stagelens.pipeline.evaluate.cost import Latency, Phases, peak_bytes, resets_peak, time_queries


def test_phases_nest_and_end_in_order():
    phases = Phases()
    with phases("outer"):
        with phases("inner"):
            time.sleep(0.02)
        with phases("other"):
            pass
    assert [phase.name for phase in phases.done] == ["inner", "other", "outer"]
    inner, _, outer = phases.done
    assert outer.wall_s >= inner.wall_s >= 0.02
    assert inner.cpu_s < 0.02


def test_a_phase_that_raises_is_measured():
    phases = Phases()
    with pytest.raises(RuntimeError), phases("broken"):
        raise RuntimeError("x")
    assert [phase.name for phase in phases.done] == ["broken"]
    with phases("after"):
        pass
    assert len(phases.done) == 2


@pytest.mark.skipif(not resets_peak(), reason="this system does not let the memory mark be reset")
def test_peaks_belong_to_their_phase():
    phases = Phases()
    size = 120 << 20
    with phases("outer"):
        with phases("large"):
            block = np.ones(size, dtype=np.uint8)
            del block
        with phases("small"):
            pass
    large, small, outer = phases.done
    assert large.peak_bytes - small.peak_bytes > size * 0.9
    assert outer.peak_bytes >= large.peak_bytes  # though an inner phase reset the mark


def test_peak_is_bytes():
    assert peak_bytes() > 10 << 20


def test_latency_percentiles():
    latency = Latency.of(np.arange(1, 102, dtype=float))
    assert (latency.p50, latency.p95, latency.p99) == (51.0, 96.0, 100.0)
    with pytest.raises(ValueError, match="at least one"):
        Latency.of([])


def test_queries_are_timed_one_at_a_time_after_a_warm_up():
    calls = []

    def call(query: int) -> None:
        calls.append(query)
        time.sleep(0.002)

    samples = time_queries(call, 4, warm_up=2)
    assert calls == [0, 1, 0, 1, 2, 3]
    assert len(samples) == 4
    assert min(samples) >= 2.0
