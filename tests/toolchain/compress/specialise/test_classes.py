import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.compress.specialise.classes import GROUPS, kept_classes, split_names
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models.faces import LABELS, face_spec
from toolchain.spec import CLASSIFICATION, GENERIC, SEGMENTATION, ModelSpec, TensorSpec

FACE = face_spec("parser", "", "", previous=True)


def spec_of(task, labels):
    shape = (1, max(1, len(labels)), 4, 4)
    return ModelSpec("net", task, (TensorSpec("x", (1, 3, 4, 4)),), (TensorSpec("y", shape),), labels=labels)


ANIMALS = spec_of(CLASSIFICATION, ("cat", "dog", "horse"))


@pytest.mark.parametrize(
    ("spec", "text", "kept"),
    [
        (FACE, "lips", (0, 7, 9)),
        (FACE, "mouth", (0, 7, 8, 9)),
        (FACE, "eyes,brows", (0, 2, 3, 4, 5)),
        (FACE, "brows , Eyes", (0, 2, 3, 4, 5)),
        (FACE, "lower lip, nose, upper lip", (0, 6, 7, 9)),
        (FACE, "lips,lips,upper lip", (0, 7, 9)),
        (FACE, "background,skin", (0, 1)),
        (ANIMALS, "horse,cat", (0, 2)),
        (spec_of(SEGMENTATION, ("__background__", "aeroplane", "person")), "person", (0, 2)),
    ],
)
def test_kept_classes_keep_the_networks_order(spec, text, kept):
    assert kept_classes(spec, split_names(text)) == kept


@pytest.mark.parametrize(
    ("spec", "text", "said"),
    [
        (FACE, "lip", ["no class 'lip'", "upper lip", "groups are lips, mouth"]),
        (FACE, "left eyebrow", ["no class 'left eyebrow'", "did you mean left brow"]),
        (FACE, "hair", ["no class 'hair'", "background, skin, left brow"]),
        (FACE, "background", ["background alone", "classes are skin"]),
        (FACE, "", ["no class is named", "--classes"]),
        (FACE, ",".join(LABELS), ["all classes of 'parser'", "compress train"]),
        (FACE, "skin,brows,eyes,nose,mouth", ["all classes of 'parser'"]),
        (ANIMALS, "dog", ["'dog' alone", "at least two"]),
        (ANIMALS, "dog,wolf", ["no class 'wolf'", "cat, dog, horse"]),
        (ANIMALS, "dog,eyes", ["no class 'eyes'"]),
        (ANIMALS, "cat,dog,horse", ["all classes of 'net'"]),
    ],
)
def test_a_wrong_choice_is_refused_with_the_way_out(spec, text, said):
    with pytest.raises(UsageError) as caught:
        kept_classes(spec, split_names(text))
    for part in said:
        assert part in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(GENERIC, ("a", "b")),
        spec_of(CLASSIFICATION, ()),
        spec_of(SEGMENTATION, ("person", "background")),
    ],
)
def test_a_network_without_named_classes_or_background_is_refused(spec):
    with pytest.raises(UnsupportedError):
        kept_classes(spec, ["person"])


@given(st.lists(st.sampled_from([*LABELS, *GROUPS]), max_size=12), st.randoms())
def test_order_and_repetition_never_matter(names, random):
    def outcome(chosen):
        try:
            return kept_classes(FACE, chosen)
        except ToolchainError as error:
            return error.message

    shuffled = [name.upper() for name in [*names, *names]]
    random.shuffle(shuffled)
    assert outcome(names) == outcome(shuffled)
