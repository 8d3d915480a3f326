"""Drawings of fine-tuning: their numbers are right, and alt texts say what they show."""

from attnlab.show import drawings


def words_of(picture):
    return [text.get_text() for text in picture.figure.axes[0].texts]


def test_lora_counts_what_learns_and_what_stays():
    picture = drawings.lora(384, 1536, 8)
    assert "stays as it is: 589,824 numbers" in words_of(picture)
    assert "learn: 15,360 numbers, 2.6% of $W$" in words_of(picture)
    assert "15,360 numbers instead of 589,824" in picture.alt


def test_a_padded_batch_has_zeros_in_its_mask_just_where_padding_is():
    picture = drawings.padded_batch([["a"], ["b", "c", "d"]])
    words = words_of(picture)
    assert words.count("[PAD]") == words.count("0") == 2
    assert words.count("1") == 4
    assert "67% of its tokens are real" in picture.alt


def test_only_first_pieces_have_tags_and_entities_are_named():
    picture = drawings.tagged_pieces(
        ["Zugspitze", "on", "3", "March"],
        [["zu", "##gs"], ["on"], ["3"], ["march"]],
        ["O", "O", "B-DATE", "I-DATE"],
    )
    words = words_of(picture)
    assert [words.count(tag) for tag in ("O", "B-DATE", "I-DATE", "DATE")] == [2, 1, 1, 1]
    assert words.count("–") == 5  # [CLS], [SEP] and a later piece have no tag, two have no word
    assert "DATE (3 March)" in picture.alt


def test_many_tokens_stand_in_two_lines_and_no_entity_is_cut():
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
    tags = ["O", "O", "O", "B-DATE", "I-DATE", "I-DATE", "O", "O", "O"]
    many = drawings.tagged_pieces(words, [[word] for word in words], tags)
    texts = {text.get_text(): text.get_position() for text in many.figure.axes[0].texts}
    assert texts["a"][1] > texts["DATE"][1]  # the entity is in the line below, or after a
    heights = {texts[word][1] for word in "def"}
    assert len(heights) == 1
    assert len({texts[word][1] for word in words}) == 2


def test_the_parts_of_a_classifier_name_layers_and_classes():
    picture = drawings.fine_tuned_parts(6, ["no", "yes", "perhaps"])
    assert "z(perhaps)" in words_of(picture)
    assert words_of(picture).count("pretrained") == 1  # BERT
    assert words_of(picture).count("here untrained") == 1  # its pooler
    assert "pooler, here untrained" in picture.alt
    assert "6 layers" in picture.alt
    assert "3 logits" in picture.alt
