"""People's own pairs: a header is no pair, and what stands beside the texts is no text."""

import warnings

import pytest

from attnlab import datasets
from attnlab.errors import AttnlabWarning, DataError


def read(folder, content, name="a.tsv", encoding="utf-8", **options):
    (folder / name).write_bytes(content.encode(encoding))
    return datasets.pairs_from_file(folder / name, **options)


@pytest.mark.parametrize(
    "header",
    [
        "en\tfr",
        "EN\tFR",
        "en-US\tfr_FR",
        "eng\tfra",
        "English\tFrench",
        "français\tanglais",
        "source\ttarget",
        "src\ttgt",
        "source_text\ttarget_text",
        "sentence1\tsentence2",
        "Sentence A\tTranslation",
        "English sentence\tGerman_sentence",
        "text_en\ttext_de",
    ],
)
def test_a_header_is_no_pair(tmp_path, header):
    first, second = header.split("\t")
    with pytest.warns(AttnlabWarning, match=f"source='{first}', target='{second}'"):
        data = read(tmp_path, f"{header}\nYes\tOui\nNo\tNon\n")
    assert (data.sources, data.targets) == (["Yes", "No"], ["Oui", "Non"])
    named = read(tmp_path, f"{header}\nYes\tOui\n", source=second, target=first)
    assert (named.sources, named.targets) == (["Oui"], ["Yes"])
    assert len(read(tmp_path, f"{header}\nYes\tOui\n", header=False)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(tmp_path, "Anything\tElse\nYes\tOui\n", header=True)) == 1


@pytest.mark.parametrize(
    "line", ["No\tNon", "It\tIl", "Source\tSource", "Yes\tOui", "Text input\tSaisie", "De\tEn"]
)
def test_a_pair_is_no_header(tmp_path, line):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(tmp_path, f"{line}\nFine\tBien\n")) == 2


CREDIT = "CC-BY 2.0 (France) Attribution: tatoeba.org #2877272 (CM) & #8597805 (Roujin)"


def test_attributions_of_tatoeba_are_no_texts(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read(tmp_path, f"Go.\tGeh.\t{CREDIT}\nHi.\tHallo!\t{CREDIT}\n", "deu.txt")
    assert (data.sources, data.targets) == (["Go.", "Hi."], ["Geh.", "Hallo!"])
    with pytest.raises(DataError, match=r"3 columns.*name the columns"):
        read(tmp_path, "Go.\tGeh.\tVa.\nHi.\tHallo!\tSalut.\n")


def test_numbers_of_sentences_are_no_texts(tmp_path):
    with pytest.warns(AttnlabWarning, match="columns 2 and 4"):
        data = read(tmp_path, "1276\tGo.\t8597805\tGeh.\n1277\tHi.\t380701\tHallo!\n")
    assert (data.sources, data.targets) == (["Go.", "Hi."], ["Geh.", "Hallo!"])
    numbers = read(tmp_path, "1\tone\n2\ttwo\n")
    assert numbers.sources == ["1", "2"]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_the_delimiter_is_recognised_where_all_lines_agree(tmp_path, delimiter):
    for name in ("a.csv", "a.TXT", "a.csv.gz"):
        data = read(tmp_path, f"Yes{delimiter}Oui\n\nNo{delimiter}Non\n", name)
        assert data.targets == ["Oui", "Non"]
    data = read(tmp_path, "Yes, of course;Oui, bien sûr\nNo;Non\n", "a.csv")
    assert data.sources == ["Yes, of course", "No"]


def test_quotes_between_tabs_are_text_and_broken_ones_in_csv_are_refused(tmp_path):
    data = read(tmp_path, '"Yes\tOui"\n"No" he said\t«Non»\n')
    assert data.sources == ['"Yes', '"No" he said']
    with pytest.raises(DataError, match="in line 2 opens a cell that is never closed"):
        read(tmp_path, 'Yes,Oui\n"No,Non\n', "a.csv")
    with pytest.warns(AttnlabWarning, match=r"2 rows.*were read from 3 lines"):
        assert len(read(tmp_path, '"Yes\nsir",Oui\nNo,Non\n', "a.csv")) == 2


def test_records_are_pairs_too(tmp_path):
    content = '{"en": "Yes", "fr": "Oui"}\n{"fr": "Non", "en": "No"}\n'
    assert read(tmp_path, content, "a.jsonl").sources == ["Yes", "No"]
    assert read(tmp_path, content, "a.jsonl", source="fr", target="en").sources == ["Oui", "Non"]
    with pytest.raises(DataError, match="columns id, a, b"):
        read(tmp_path, '[{"id": 1, "a": "x", "b": "y"}]', "a.json")
    with pytest.raises(DataError, match="empty cell"):
        read(tmp_path, '[{"a": "x", "b": null}]', "a.json")


def test_the_columns_named_in_a_header_are_those_of_the_texts(tmp_path):
    with pytest.warns(AttnlabWarning, match="source='de', target='en'"):
        data = read(tmp_path, "id,de,en\n1,Ja,Yes\n2,Nein,No\n", "a.csv")
    assert data.sources == ["Ja", "Nein"]


def test_encodings_and_places_are_as_for_labelled_texts(tmp_path):
    with pytest.raises(DataError, match="encoding='utf-16'"):
        read(tmp_path, "Yes\tOuí\n", encoding="utf-16")
    path = tmp_path / "a.tsv"
    assert datasets.pairs_from_file(path, encoding="utf-16").targets == ["Ouí"]
    with pytest.raises(DataError, match="is an address"):
        datasets.pairs_from_file("https://example.org/a.tsv")
    for options in ({"source": "a", "target": "a"}, {"source": "b", "target": "a"}):
        with pytest.raises(DataError, match=r"both the column|2 columns named"):
            read(tmp_path, "a\tb\tb\nx\ty\tz\n", **options)
