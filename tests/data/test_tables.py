"""Tables that people bring: every program saves them in its own way, and one reader takes all."""

import pytest

from hv_utils.data.tables import column, read_table
from hv_utils.ground.errors import HematoVisionError

WANTED = {"image": ["1.0", "02", "3"], "category": ["NEUTROPHIL", "", "MÄRZ; A, B"]}
COMMAS = 'Image,Category\n1.0,NEUTROPHIL\n02,\n3,"MÄRZ; A, B"\n'
SEMICOLONS = 'Image;Category\n1.0;NEUTROPHIL\n02;\n3;"MÄRZ; A, B"\n'
VARIANTS = {
    "plain": COMMAS.encode(),
    "byte order mark": COMMAS.encode("utf-8-sig"),
    "semicolons": SEMICOLONS.encode(),
    "tabs": SEMICOLONS.replace(";", "\t").replace("MÄRZ\t", "MÄRZ;").encode(),
    "Windows lines": COMMAS.replace("\n", "\r\n").encode(),
    "old Mac lines": COMMAS.replace("\n", "\r").encode(),
    "Windows code page": SEMICOLONS.encode("cp1252"),
    "Unicode text": COMMAS.encode("utf-16"),
    "declared": ("sep=;\r\n" + SEMICOLONS).encode(),
    "empty rows and columns": (
        COMMAS.replace("NEUTROPHIL", "NEUTROPHIL,,") + ",\n\n,,,\n"
    ).encode(),
    "blanks": COMMAS.replace("1.0,", "  1.0 , ").replace("Image", " Image ").encode(),
    "no last line end": COMMAS.strip().encode(),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_however_it_was_saved(tmp_path, name):
    path = tmp_path / "labels.csv"
    path.write_bytes(VARIANTS[name])
    assert read_table(path).to_dict("list") == WANTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(40), "a spreadsheet's workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(40), "a spreadsheet's workbook"),
        (b"", "it has no rows"),
        (b"Image,Category\n", "it has no rows"),
        (b"Image,Category\n1,A,B\n", "row 1 has 3 cells, the header 2"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(HematoVisionError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_nothing_there_and_a_column_that_is_not(tmp_path):
    with pytest.raises(HematoVisionError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    path = tmp_path / "labels.csv"
    path.write_text(COMMAS)
    with pytest.raises(HematoVisionError, match=r"called file or path in .* has image, category"):
        column(read_table(path), ["file", "path"], path=path)
    assert list(column(read_table(path), ["file", "image"], path=path)) == WANTED["image"]
