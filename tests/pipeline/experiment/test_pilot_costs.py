"""Time and memory of a study from those of its pilots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagelens.pipeline.evaluate.cost import Phase
from stagelens.pipeline.experiment.estimate import Work
from stagelens.pipeline.experiment.pilot_costs import FITS, Held, Spent, peaks, seconds, total
from stagelens.pipeline.store import LedgerEntry
from stagelens.pipeline.workbench import Workbench

WORK = Work(interactions=1000, windows=5, taught=500, valid=100, test=200, judged=2000)


def spent(
    work: Work, cpu: dict[str, float], *, slow: float = 1.0, peak: dict[str, int] | None = None
) -> Spent:
    return Spent(work, {name: slow * value for name, value in cpu.items()}, cpu, peak or {})


def scaled(factor: float) -> Work:
    names = ("interactions", "taught", "valid", "test", "judged")
    return replace(WORK, **{name: int(factor * getattr(WORK, name)) for name in names})


def by_name(rows):
    return {row.name: row for row in rows}


def test_a_phase_with_a_fixed_part_goes_on_its_line():
    runs = [spent(scaled(k), {"test": 2.0 + 3.0 * k, "costs": 4.0}) for k in (1, 1, 2)]
    found = by_name(seconds(runs, scaled(10)))
    assert found["test"].expected == pytest.approx(32.0)
    assert found["test"].pilot == pytest.approx(8.0)
    assert found["costs"].expected == pytest.approx(4.0)  # the same whatever the size


def test_growth_is_never_below_nothing_nor_beyond_proportion():
    runs = [spent(scaled(k), {"test": t}) for k, t in ((1, 1.0), (1, 1.0), (2, 9.0))]
    assert by_name(seconds(runs, scaled(10)))["test"].expected == pytest.approx(45.0)
    runs = [spent(scaled(k), {"test": t}) for k, t in ((1, 5.0), (1, 5.0), (2, 4.0))]
    assert by_name(seconds(runs, scaled(10)))["test"].expected == pytest.approx(4.0)


def test_lists_beyond_the_limit_cost_nothing_more():
    full = replace(scaled(10), taught=1000)
    runs = [spent(scaled(k), {"re-ranker fits": 5.0 * k}) for k in (1, 1, 2)]
    assert scaled(2).taught == full.taught
    assert by_name(seconds(runs, full))["re-ranker fits"].expected == pytest.approx(10.0)


def test_a_busy_machine_is_expected_to_stay_so():
    runs = [spent(scaled(k), {"test": 3.0 * k}, slow=slow) for k, slow in ((1, 2.0), (1, 0.5), (2, 1.0))]
    row = by_name(seconds(runs, scaled(4)))["test"]
    assert (row.low, row.expected, row.high) == pytest.approx((6.0, 12.0, 24.0))


def test_what_the_first_pilot_took_longer_is_starting_up():
    runs = [spent(scaled(k), {"test": t}) for k, t in ((1, 7.0), (1, 3.0), (2, 6.0))]
    rows = seconds(runs, scaled(4))
    assert by_name(rows)["start"].expected == pytest.approx(4.0)
    assert total(rows).expected == pytest.approx(16.0)


def test_working_memory_grows_up_to_a_block_and_what_is_kept_with_the_pairs():
    sizes = ((100, {"test": 150}), (300, {"test": 340}), (310, {"test": 390, "judge": 320}))
    runs = [
        replace(spent(scaled(k), {}, peak=peak), loaded_bytes=loaded, pairs=50 * k)
        for k, (loaded, peak) in zip((1, 1, 2), sizes, strict=True)
    ]
    held = Held(loaded_bytes=1000, pairs=400, most={"test": 600}, by_pair={"test": 0.5, "judge": 2.0})
    found = by_name(peaks(runs, scaled(10), held))
    # 1000 loaded and 200 of libraries; working with 80 at 400 users and 40 at 200 makes 120 at a block of 600
    assert found["test"].expected == 1200 + 120 + 0.5 * 300
    assert (found["test"].low, found["test"].high) == (1200 + 80 + 95, 1200 + 80 + 380)
    assert found["judge"].expected == 1200 + 10 + 2.0 * 300


def test_few_tuning_users_do_not_make_valid_dearer_than_test():
    peaks_of = ({"valid": 40, "test": 100}, {"valid": 60, "test": 100}, {"valid": 90, "test": 110})
    runs = [
        replace(spent(scaled(k), {}, peak=peak), loaded_bytes=0, pairs=50 * k)
        for k, peak in zip((1, 1, 2), peaks_of, strict=True)
    ]
    found = by_name(peaks(runs, scaled(20), Held(loaded_bytes=0, pairs=100, most={}, by_pair={})))
    assert found["test"].expected == 110 + 10 * 18
    assert found["valid"].expected == found["test"].expected  # on its own line: 90 + 30 * 18


def phase(name: str, wall_s: float) -> Phase:
    return Phase(name, wall_s, wall_s / 2, 100)


def test_choices_and_fits_are_told_from_the_phases_that_hold_them():
    phases = [phase("recall fits and lists", 2.0), phase("re-ranker fits", 3.0), phase("choice", 6.0)]
    phases += [phase("recall fits and lists", 1.0), phase("re-ranker fits", 5.0), phase("test", 4.0)]
    made = [
        LedgerEntry("fit", "ItemKNN on fold 1", "a", True, 1.5),
        LedgerEntry("vectors", "SVD on fold 2", "b", True, 0.5),
        LedgerEntry("fit", "ItemKNN on valid", "c", True, 9.0),
        LedgerEntry("fit", "ItemKNN on fold 3", "d", False, 9.0),
    ]
    one = Spent.of(WORK, phases, made, ["fold 1", "fold 2", "fold 3"], 18.0)
    assert one.wall_s == {
        "recall fits and lists": 3.0,
        "re-ranker fits": 6.0,
        FITS: 2.0,
        "choice": 1.0,
        "test": 4.0,
        "between phases": 2.0,
    }
    assert one.cpu_s["re-ranker fits"] + one.cpu_s[FITS] == pytest.approx(4.0)


@pytest.mark.parametrize("refit", ["full", "cross"])
def test_counted_work_is_what_the_windows_hold(refit, tiny, tiny_split, make_study, tmp_path):
    study = make_study(**{"protocol.refit": refit})
    windows = Workbench.of(tiny, tiny_split, seed=0, store=tmp_path, refit=refit).windows
    work = Work.of(study, tiny_split)
    lists = sum(len(window) for window in windows.rows)
    if refit == "full":
        assert work.taught == lists
    else:  # which folds a short history falls into is drawn
        assert work.taught == pytest.approx(lists, rel=0.02)
    assert (work.valid, work.test, work.windows) == (len(windows.valid), len(windows.test), len(windows.rows))
    capped = Work.of(make_study(**{"protocol.refit": refit, "protocol.max_rows": 1000}), tiny_split)
    assert capped.taught == 50
    assert work.taught > 50
