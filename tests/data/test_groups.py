"""Groups of one's own images: from a table or from names, and nothing is guessed."""

import pandas as pd
import pytest

from hv_utils.data.groups import read_groups
from hv_utils.ground.errors import HematoVisionError

NAMES = ("a/P1_001.png", "a/P2_001.png", "b/P1_002.png", "b/P2_002.png")


def images(root, names=NAMES):
    paths = [str(root / name) for name in names]
    return pd.DataFrame({"path": paths, "sha256": [f"{n}" for n in range(len(names))]})


def from_table(tmp_path, text, names=NAMES):
    file = tmp_path / "groups.csv"
    file.write_text(text)
    found, notes = read_groups(images(tmp_path / "root", names), str(file), root=tmp_path / "root")
    return list(found), notes


def refused(tmp_path, text, message, names=NAMES):
    with pytest.raises(HematoVisionError, match=message) as caught:
        from_table(tmp_path, text, names)
    assert "\n" not in str(caught.value)


ROWS = dict(zip(NAMES, ("1", "2", "1", "2"), strict=True))


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("file,patient", lambda name: name),
        ("Path,Slide", lambda name: name.replace("/", "\\")),
        ("file;group", lambda name: f"./{name}"),
        ("image,donor", lambda name: name.split("/")[1]),
        ("filename\tsubject", lambda name: name.split("/")[1].removesuffix(".png")),
        ("file,patient", lambda name: name.upper()),
        ("file,patient", lambda name: f"root/{name}"),
    ],
)
def test_files_may_be_named_in_many_ways(tmp_path, header, named):
    delimiter = next(sign for sign in ",;\t" if sign in header)
    rows = [f"{named(name)}{delimiter}{group}.0" for name, group in ROWS.items()]
    assert from_table(tmp_path, "\n".join([header, *rows])) == (list(ROWS.values()), [])


def test_a_path_may_be_whole(tmp_path):
    rows = [f"{tmp_path / 'root' / name},{group}" for name, group in ROWS.items()]
    assert from_table(tmp_path, "\n".join(["file,patient", *rows]))[0] == list(ROWS.values())


def test_the_patient_counts_before_the_slide(tmp_path):
    rows = [f"{name},s{number},{ROWS[name]}" for number, name in enumerate(NAMES)]
    table = "\n".join(["file,slide,patient", *rows])
    assert from_table(tmp_path, table)[0] == list(ROWS.values())


def test_accents_in_either_form(tmp_path):
    names = ("a/e\u0301_1.png", "b/x.png")  # as a Mac writes
    table = "file,patient\n\u00e9_1.png,1\nx.png,2\n"  # as everybody else does
    assert from_table(tmp_path, table, names)[0] == ["1", "2"]


def table(**changes):
    rows = {**ROWS, **changes}
    return "\n".join(["file,patient", *(f"{name},{group}" for name, group in rows.items())])


def test_a_file_named_twice_and_files_that_are_not_there(tmp_path):
    assert from_table(tmp_path, table() + "\nP1_001.png,1\n") == (list(ROWS.values()), [])
    found, (note,) = from_table(tmp_path, table() + "\nc/gone.png,9\nz.png,9\n")
    assert found == list(ROWS.values())
    assert note == "rows of groups.csv for no image that is here: 2, such as c/gone.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table() + "\nP1_001.png,2\n", "P1_001.png has 1 and 2"),
        ("file,patient\na/P1_001.png,1\n", "3 have none, such as .*P2_001.png"),
        ("file,patient\nelsewhere/x.png,1\n", "4 have none, .* first row is for elsewhere/x.png"),
        ("file,age\na/P1_001.png,1\n", "column called group or patient"),
        ("patient\n1\n", "column called file"),
        (table(**{"a/P1_001.png": ""}), "row 1 below the header lacks one"),
        ("file,patient\n", "has no rows"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, text, message):
    refused(tmp_path, text, message)


def test_a_name_that_fits_two_images(tmp_path):
    names = ("a/1.png", "b/1.png")
    refused(tmp_path, "file,patient\n1.png,7\n", "1.png fits 2, such as .*a/1.png", names)


def from_names(root, pattern, names=NAMES):
    return list(read_groups(images(root, names), pattern, root=root)[0])


@pytest.mark.parametrize(
    ("pattern", "names", "expected"),
    [
        ("^([^_]+)_", NAMES, ["P1", "P2", "P1", "P2"]),
        (r"(\w+)_\d+", NAMES, ["P1", "P2", "P1", "P2"]),
        ("^(?:P|Q)([0-9]+)", NAMES, ["1", "2", "1", "2"]),
        ("^([^/]+)/", ("a/P1/1.png", "b/P2/1.png"), ["P1", "P2"]),
        ("^([^_]+)_", ("train/a/P1_1.png", "test/a/P2_1.png"), ["P1", "P2"]),
        ("^([^_]+)_", ("a/train/P1_1.png", "a/test/P2_1.png"), ["P1", "P2"]),
    ],
)
def test_patterns_look_at_the_name_below_the_class(tmp_path, pattern, names, expected):
    assert from_names(tmp_path, pattern, names) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("groups.csv", "nothing is at groups.csv"),
        ("patients/of/mine", "nothing is at"),
        ("(P", "a regular expression"),
        (r"(\w+)_(\d+)", "one pair of parentheses .* has 2"),
        ("(?:P)", "has 0"),
        (r"(Q\d)", "finds none in 4 of 4, such as P1_001.png"),
        ("(x?)P", "finds none in 4 of 4"),
    ],
)
def test_patterns_that_do_not_fit(tmp_path, pattern, message):
    with pytest.raises(HematoVisionError, match=message):
        from_names(tmp_path, pattern)


def test_one_picture_in_two_groups(tmp_path):
    table = images(tmp_path).assign(sha256="same")
    with pytest.raises(HematoVisionError, match=r"P1_001.png \(P1\) and .* are the same file"):
        read_groups(table, "^([^_]+)_", root=tmp_path)
