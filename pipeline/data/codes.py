"""Every kind of fault by its code: what it means, what it does to a study, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        code: Stable name.
        severity: ``error`` (cannot be loaded), ``warning`` (loads, numbers suffer) or ``note`` (a decision).
        unit: What its count counts.
        means: What is there, in a few words.
        effect: What it does to a study.
        remedy: What is allowed, or how to mend it.
        mend: What ``--fix`` does about it; empty where that would be a guess.
    """

    code: str
    severity: Severity
    unit: str
    means: str
    effect: str
    remedy: str
    mend: str = ""


_IDS = "Allowed: integers or text, one in every row."
_ARRAY = "Allowed: float16 or float32 [R, D], saved with numpy.save(path, array, allow_pickle=False)."
NOTHING = "Nothing to do"
"""How the remedy of a fault begins that needs none."""
_STOPS = "Nothing can be loaded."


# fmt: off
def _errors() -> tuple[Kind, ...]:
    return (
        # The folder.
        Kind("no-folder", "error", "folders", "there is no such folder", _STOPS,
             "Give the folder that holds interactions.parquet or interactions.csv, or world:NAME."),
        Kind("no-access", "error", "files", "the folder or a file may not be read", _STOPS,
             "Ask for the right to read it (chmod, chown), or copy the folder to a place of your own."),
        Kind("broken-link", "error", "files", "a link to a file that is not there", _STOPS,
             "Put the file where the link points, or the file itself in place of the link."),
        Kind("no-interactions", "error", "folders", "no table of interactions", _STOPS,
             "Allowed: interactions.parquet or interactions.csv with columns user_id and item_id."),
        Kind("not-a-file", "error", "files", "a folder, pipe or device where a file should be",
             "Its rows would be missing.",
             "Allowed: one Parquet or CSV file; join the parts into one file of this name."),
        # dataset.toml and names.
        Kind("bad-toml", "error", "files", "`dataset.toml` is no TOML",
             "Nothing of what it says would count.", "Mend the line, or remove the file: it is optional."),
        Kind("unknown-key", "error", "keys", "`dataset.toml` has a key that means nothing",
             "What it was to say would be ignored in silence.", "Correct the key, or remove the line."),
        Kind("bad-value", "error", "keys", "`dataset.toml` gives a key a value that it cannot have",
             "What it was to say would be ignored in silence.", "Correct the value, or remove the line."),
        Kind("unknown-modality", "error", "modalities", "`dataset.toml` names a modality without an array",
             "A study would lack that modality.", "Correct the name, or add the array."),
        Kind("reserved-name", "error", "modalities", "an array is called `interaction` or `all`",
             "The name means something else on the command line.", "Rename the file."),
        # Tables.
        Kind("unreadable-table", "error", "files", "a table is truncated, empty, or of another format",
             "Its rows would be missing.", "Write it again."),
        Kind("oversized-table", "error", "files", "a small Parquet file that unfolds to many gigabytes",
             "Reading it would take all memory.",
             "Write it again from its source; if it is right as it is, write it without a dictionary."),
        Kind("column-twice", "error", "columns", "two columns of one name",
             "Which of them counts would be chance.", "Every column needs a name of its own."),
        Kind("ragged-csv", "error", "lines", "lines with more or fewer cells than the header",
             "Cells would stand in wrong columns, or events be lost.",
             "Quote cells that hold the delimiter, and write the file again."),
        Kind("no-rows", "error", "files", "a table without usable rows", "There is nothing to learn from.",
             "Allowed: one row per event, per item or per user."),
        Kind("missing-column", "error", "columns", "a column that is needed is not there",
             "Nobody knows who chose what.", 'Rename the column, or map it: [columns] item_id = "...".'),
        Kind("missing-id", "error", "rows", "rows without an id",
             "The event belongs to nobody; leaving it out unseen would change the data.", _IDS),
        Kind("id-type", "error", "rows", "ids that are fractions, booleans, beyond 64 bits, or no longer exact",
             "Different users or items would become one.", _IDS),
        Kind("id-twice", "error", "ids", "an id in two rows of `items` or `users`",
             "Which row holds would be chance, and the rows of arrays would shift.", "Allowed: one row per id."),
        Kind("not-numbers", "error", "rows", "a column of numbers holds something else",
             "Whether the event is a positive cannot be told.",
             "Allowed: numbers with a decimal point, or an empty cell."),
        Kind("bad-weight", "error", "rows", "weights that are zero, negative or missing",
             "Such an event would count against its item, or break the fit.",
             "Allowed: above 0; or weight = false."),
        Kind("bad-timestamp", "error", "rows", "moments that cannot be read",
             "The event can be put neither before nor after the cut: training may see the future.",
             "Allowed: Unix time (s, ms, us, ns), dates or date-times in every row; or no column."),
        Kind("no-timestamps", "error", "columns", "`dataset.toml` promises a clock, and there is no column for it",
             "No split by time is possible.", "Add the column, or remove the line from dataset.toml."),
        Kind("split-label", "error", "rows", "labels of the split column that mean nothing",
             "The event belongs to no window.", "Allowed: train, valid (or val, validation, dev), test; 0, 1, 2."),
        Kind("feature-type", "error", "rows", "a feature column of lists or the like",
             "A ranker cannot order it.", "Allowed: numbers, booleans, dates or text."),
        Kind("unknown-item", "error", "rows", "events of items that the catalogue lacks",
             "These choices could never be recommended; often the ids of two files do not belong together.",
             "Add these items to the catalogue with a row of their own, or remove the rows."),
        Kind("empty-window", "error", "windows", "the split leaves a window without events",
             "Nothing could be trained, tuned or tested there.",
             "Give a fuller split column, more interactions, or another data.split."),
        # Arrays.
        Kind("rows-without-ids", "error", "rows", "nothing says which item a row of an array is",
             "Vectors would stand for the wrong items.",
             "Add items.parquet with item_id in the order of the rows, or NAME.ids.npy."),
        Kind("row-count", "error", "rows", "an array has more or fewer rows than there are items",
             "Vectors would stand for the wrong items.",
             "Row i must belong to row i of the items; or name the items of the rows in NAME.ids.npy."),
        Kind("row-twice", "error", "items", "an item has several rows in an array",
             "Which vector holds would be chance.", "Give every item one row.",
             "Where all rows of an item are the same, one is kept."),
        Kind("unreadable-array", "error", "files", "an array is truncated, pickled, an archive, or no array",
             "The modality would be missing, or rows be wrong.", _ARRAY),
        Kind("array-type", "error", "files", "an array of another type or shape, or too large",
             "It holds no vectors of items.", _ARRAY),
        Kind("no-vectors", "error", "items", "an array without one usable vector",
             "The modality is empty: every comparison of it would be of nothing.",
             "Check how the array was written."),
    )


def _warnings() -> tuple[Kind, ...]:
    return (
        # The split and time.
        Kind("leak-own-future", "warning", "events",
             "training events that come after a test event of their user",
             "Training knows the future of the users it is tested on: numbers come out too good.",
             "Cut by time when making the split, or set data.split to leave-last-out or global-time."),
        Kind("leak-global-time", "warning", "events",
             "training events that come after the first test event of anyone",
             "Item popularity and co-occurrence of the test period are known in training.",
             "A global-time split has none of these."),
        Kind("test-before-train", "warning", "events", "the whole test window lies before training",
             "The future is used to tell the past.", "Check the labels of the split column."),
        Kind("pairs-across-windows", "warning", "events", "a pair stands in two windows of the given split",
             "They would be known when tested; the earlier window keeps the pair.",
             "Remove the later rows when making the split.",
             "The rows of the later windows are left out, as loading does, where no threshold could count them."),
        Kind("no-clock", "warning", "events", "one and the same timestamp everywhere",
             "The timestamps are not used; the split cannot be by time.",
             'Give the true moments, or say clock = "none" in dataset.toml.'),
        Kind("early-timestamps", "warning", "events", "moments before 1990", "Global time puts them first.",
             'If they are positions or unknown moments, say clock = "order" or "none" in dataset.toml.'),
        Kind("future-timestamps", "warning", "events", "moments later than tomorrow",
             "Global time puts them last: they fill the test window.",
             "Look for a wrong unit or a filler date, and correct these rows."),
        # Who chooses.
        Kind("busy-users", "warning", "users", "more than 1,000 events of a user in 24 hours",
             "An import or a program, hardly a person; n events make n² / 2 pairs that stand together, "
             "so a few such users shape neighbours and popularity.",
             "Look at these users; remove them when making the data if no person chose that."),
        Kind("unlisted-users", "warning", "users", "users of the interactions whom `users` does not list",
             "They take part; their user columns are unknown (NaN).", "Add a row for each of them.",
             "A row with the id and empty cells is added, as loading does."),
        # Ids.
        Kind("mixed-ids", "warning", "ids", "most ids of a column are integers and some are not",
             "All ids are read as text.",
             "Check that the odd ones are ids, and no header, filler or broken line."),
        Kind("float-ids", "warning", "ids", "ids written as decimals, like 12.0",
             "They are text: 12.0 is not item 12 of another file, so events and vectors may not meet.",
             "Write ids as integers (in pandas: a column with gaps became float; use Int64).",
             "Where every id of the column is a whole number, .0 is taken off, unless another file must keep it."),
        Kind("spreadsheet-ids", "warning", "ids", "ids like 1.2E+11, as spreadsheets write long numbers",
             "Digits are lost: different users or items have become one.",
             "Export again from the source with the column as text."),
        # Values and columns.
        Kind("value-missing", "warning", "events", "events without a value, where values choose the positives",
             "They are not positives.", "Give them a value, or leave data.positive unset."),
        Kind("many-categories", "warning", "texts", "a text column with a text of its own for most rows",
             "As codes they tell a ranker next to nothing.",
             "Leave the column out of data.item_columns or data.user_columns, or give a coarser one."),
        Kind("constant-feature", "warning", "ids", "a named column with one value, or none, for all",
             "It tells a ranker nothing.", "Leave it out of data.item_columns or data.user_columns."),
        Kind("unknown-impressions", "warning", "rows", "exposures of users or items that the data set lacks",
             "They are not used.", "Add these users and items, or remove the rows.",
             "The rows are left out, as loading does."),
        Kind("impressions-without-time", "warning", "files", "exposures without a timestamp beside a real clock",
             "They cannot be placed before or after an event.", "Add the timestamp."),
        # Vectors.
        Kind("non-finite", "warning", "items", "vectors with NaN or infinity",
             "These items count as lacking the modality.", "Look for a division by zero in the encoder.",
             "Zero rows, which mean absent, as loading takes them."),
        Kind("duplicate-vectors", "warning", "items", "vectors equal to the vector of another item",
             "Such items tie in every similarity; ties are broken at random, never by index.",
             "Look for filled-in means or placeholder media, and make those rows zero (absent)."),
        Kind("mean-filled-vectors", "warning", "items", "vectors equal to the mean of all",
             "Missing content that was filled in: it counts as present, and hides what lacking it costs.",
             "Make those rows zero (absent); the treatment Impute fills them as part of a study."),
        Kind("constant-vectors", "warning", "items", "vectors of one number throughout",
             "They stand for many items and resemble nothing.",
             "If they stand for missing media, make those rows zero (absent)."),
        Kind("mostly-missing", "warning", "items", "more than half of the items lack a modality",
             "What the modality is worth is measured on few items, and is diluted by all the others.",
             "Expect a small effect; look at the slices of items with the modality, or the treatment Impute."),
        Kind("unrelated-rows", "warning", "items",
             "items that users choose together are no more alike than any two items",
             "The modality will be found worthless. If its rows stand in another order than the items, that is why.",
             "Check on a few items that row i is the vector of item i; or name the rows in NAME.ids.npy."),
        Kind("float64-array", "warning", "files", "an array of float64 or wider",
             "It is read into memory as float32, not mapped.", "Save it as float32.",
             "Written as float32, as loading reads it."),
        Kind("extra-rows", "warning", "rows", "rows of an array for items outside the catalogue",
             "They are not used.", "Add the items to the catalogue, or remove the rows.",
             "The rows are left out, as loading does."),
        # Files.
        Kind("ids-without-array", "warning", "files", "ids of rows without the array", "They are not used.",
             "Add the array, or remove the file.", "The file is left out."),
        Kind("two-tables", "warning", "files", "a table as Parquet and as CSV",
             "The Parquet file is read, the CSV file is not.", "Remove one of them.", "The CSV file is left out."),
    )


def _notes() -> tuple[Kind, ...]:
    return (
        # Which events count.
        Kind("duplicate-pairs", "note", "events", "a user chose an item several times",
             "The first of each pair counts.", "Nothing to do; weigh repeats with data.weight if they matter.",
             "Rows that no threshold could let count are left out, as loading does."),
        Kind("positives", "note", "events", "a threshold chooses the positives", "They are the positives.",
             "Nothing to do; data.positive sets the threshold."),
        Kind("value-unused", "note", "events", "values that choose nothing",
             "Every event counts as a positive.", "To change that set positive = X (value >= X counts)."),
        Kind("weights", "note", "events", "values as weights", "They are the events' weights.",
             "Nothing to do; data.weight = false counts every event once."),
        # Time.
        Kind("order-only", "note", "events", "positions instead of moments",
             "An order, not a clock: leave-last-out instead of global time.",
             "Give timestamps for a split by time."),
        Kind("time-unit", "note", "events", "timestamps finer than a second",
             "They are read as Unix seconds, rounded down; their order within a second is kept.",
             "Nothing to do."),
        Kind("coarse-clock", "note", "moments", "fewer than 100 different moments",
             "Events of one moment stay in one window, so windows differ from 70/10/10/10.",
             "Give finer timestamps if there are any."),
        # Files and ids.
        Kind("id-types", "note", "files", "item ids are text in one table and integers in another",
             "They are compared as text.", "Nothing to do if the texts are the same; else write both alike."),
        Kind("csv-marks", "note", "files", "a byte-order mark or Windows line ends in a CSV file",
             "None here; other readers take the mark for a part of the first name.",
             "Nothing to do.", "Written without them."),
        Kind("link-outside", "note", "files", "a link to a file outside the folder",
             "It is read; a copy of the folder made elsewhere may lack it.",
             "Put the file itself in place of the link.", "The file itself is written."),
        Kind("unused-file", "note", "files", "files that look like data and are not read",
             "They take no part.", "Turn them into one of the files of the layout, if they should."),
        # Vectors.
        Kind("zero-vector", "note", "items", "items without a vector: an all-zero row, or none",
             "Absent, never a vector.", "Nothing to do; the treatment Impute fills them as part of a study."),
        Kind("near-duplicate-vectors", "note", "items", "vectors almost equal to that of another item",
             "Such items nearly tie: which of them is recommended says little.",
             "Look whether one thing is listed several times."),
        Kind("constant-columns", "note", "columns", "columns of an array with one value over all items",
             "They tell nothing.", "Nothing to do; leave them out to save memory."),
        Kind("norm-spread", "note", "items", "lengths of vectors that differ more than a hundredfold",
             "With raw inner products the longest win everywhere; cosine is not affected.",
             "Keep cosine, the default, or scale the rows to length 1."),
        # Who is hardly there.
        Kind("single-event-users", "note", "users", "users with one event",
             "Splits made per user keep that event in history.", "Nothing to do."),
        Kind("users-without-events", "note", "users", "users without an event that counts",
             "They are neither trained on nor tested.", "Nothing to do."),
        Kind("items-without-events", "note", "items", "catalogue items without an event",
             "They stay candidates: only content can reach them.", "Nothing to do."),
        Kind("few-test-users", "note", "users", "fewer than 100 users in test",
             "Intervals will be wide: only large differences can be told.",
             "Use more data or a larger test window, and read the detectable effect of every comparison."),
        Kind("little-to-rank", "note", "users", "test users with at most 20 items left that they did not choose",
             "Any list of 20 holds what they chose next: they count, and tell systems apart poorly.",
             "Use a larger catalogue, or read metrics at small k."),
        Kind("cold-test-users", "note", "users", "test users without a training event",
             "They count; only popularity can serve them.", "Nothing to do; the slices show them apart."),
        Kind("cold-test-items", "note", "events", "test events of items without a training event",
             "They count; only content can find them.", "Nothing to do; the slices show them apart."),
        Kind("cold-items-without-content", "note", "items",
             "no item tested without training has some modality",
             "Nothing can find these items through it.", "Add their vectors if they exist."),
    )


# fmt: on
KINDS: dict[str, Kind] = {kind.code: kind for kind in (*_errors(), *_warnings(), *_notes())}
"""Every kind of fault by its code: errors, warnings, notes."""


def fault_table() -> str:
    """Return the kinds as Markdown tables, one for each severity, as they stand in the documentation."""
    parts = []
    for severity, title in (("error", "Errors"), ("warning", "Warnings"), ("note", "Notes")):
        rows = [
            f"| `{kind.code}` | {kind.means} | {kind.unit} | {kind.effect} | {kind.remedy} | {kind.mend or 'no'} |"
            for kind in KINDS.values()
            if kind.severity == severity
        ]
        head = "| Code | What it means | Counts | What it does to a study | How to mend it | `--fix` |"
        parts.append("\n".join([f"### {title}", "", head, "|---|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"
