import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from toolchain.compress.distill.distill import distill
from toolchain.compress.distill.teacher import Teacher
from toolchain.compress.sparsity.masks import zeroed_kernels
from toolchain.compress.sparsity.settings import SparsitySettings
from toolchain.compress.specialise.fit import Network
from toolchain.compress.specialise.head import shrink_head
from toolchain.compress.specialise.job import Job
from toolchain.compress.specialise.scores import reduced_figures
from toolchain.compress.specialise.specialise import specialise, specialised_network
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models.faces import LABELS, face_spec
from toolchain.models.strided_hourglass import StridedHourglass
from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, Preprocess, TensorSpec
from toolchain.training.datasets import open_pairs

LIPS = ("background", "upper lip", "lower lip")
FACE = face_spec("tiny", "", "", previous=True, size=64)
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
RECIPE = """
size = 64
epochs = 2
batch_size = 8
precision = "32"
weight_average = 0.5
[augment]
affine = 0.0
colour = 0.0
occlusion = 0.0
[loss]
cross_entropy = 1.0
dice = 1.0
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return str(path)


def face_network(seed=0):
    torch.manual_seed(seed)
    return Network(StridedHourglass(8, 2, 8).eval(), FACE)


def face_job(tmp_path, recipe, **values):
    return Job(
        "drawn:24",
        tmp_path / "out",
        recipe=recipe,
        workers=0,
        trainer={"accelerator": "cpu"},
        calibrate=False,
        **values,
    )


def written(folder, name):
    with safe_open(folder / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
    return (
        load_file(folder / f"{name}.safetensors"),
        json.loads((folder / f"{name}.json").read_text()),
        metadata,
    )


def test_a_face_parser_learns_its_few_classes_with_the_term_and_a_teacher(tmp_path, recipe):
    whole = face_network()
    before = {name: value.clone() for name, value in whole.module.state_dict().items()}
    job = face_job(
        tmp_path, recipe, sparsity=SparsitySettings(0.01, threshold=0.1, scope="layer", exempt=("head",))
    )
    card = specialise(
        whole, ["lips"], job, Teacher(face_network(1).module, FACE, "t", pairwise=0.5), {"body.*": 0.5}
    )

    state, saved, metadata = written(job.output, "tiny")
    assert saved == json.loads(json.dumps(card))
    assert metadata["reshaped"] == "true"
    assert tuple(saved["labels"]) == LIPS
    assert saved["palette"] == [list(FACE.palette[index]) for index in (0, 7, 9)]
    assert saved["specialised"] == {"classes": ["lips"], "of": 10}
    assert saved["distillation"] == {"name": "t", "share": 0.5, "temperature": 2.0, "pairwise": 0.5}
    assert state["head.weight"].shape == (3, 8, 1, 1)
    assert state["previous.weight"].shape == (8, 3, 1, 1)
    assert state["body.skip.body.0.0.weight"].shape[0] == 8
    assert list(saved["figures"]["per_class_f1"]) == list(LIPS)
    assert set(saved["figures"]) == set(saved["figures_whole"])
    # With the term the last epoch is kept, zeroed kernels and all, though the weights are averages.
    rows = [
        value.flatten(1).abs().sum(1) == 0
        for name, value in state.items()
        if name.endswith("weight") and value.ndim == 4
    ]
    assert sum(int(row.sum()) for row in rows) > 0
    assert saved["training"]["best_epoch"] == 2
    assert all(torch.equal(before[name], value) for name, value in whole.module.state_dict().items())


def test_figures_of_the_whole_network_count_its_other_classes_as_background():
    whole, pairs = face_network(), open_pairs("drawn:8", "val", 64)
    found = reduced_figures(whole.module, FACE, LIPS, pairs, 4)

    class Reduced(nn.Module):
        def forward(self, image, previous):
            answer = whole.module(image, torch.zeros(len(image), 10, 64, 64)).argmax(1, keepdim=True)
            return torch.cat([(answer != 7) & (answer != 9), answer == 7, answer == 9], 1).float()

    _, spec = shrink_head(whole.module, FACE, ["lips"])
    assert reduced_figures(Reduced(), spec, LIPS, pairs, 4) == found


def test_a_training_that_was_interrupted_goes_on_exactly(tmp_path, recipe):
    def run(folder, resume, epochs):
        network = specialised_network(face_network(), ["eyes"], face_job(tmp_path, recipe))
        job = replace(
            face_job(tmp_path, recipe, sparsity=SparsitySettings(0.01, threshold=0.05), epochs=epochs),
            output=tmp_path / folder,
            resume=resume,
        )
        from toolchain.compress.specialise.train import train_network

        train_network(network, job)
        return written(job.output, "tiny")[0]

    whole = run("at once", False, 2)
    # A kill after the first epoch is a checkpoint in which the second is missing.
    from toolchain.compress.specialise import fit as specialise_fit

    class KilledError(RuntimeError):
        pass

    class KilledCheckpoints(specialise_fit.LatestCheckpoints):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            raise KilledError

    kept = specialise_fit.LatestCheckpoints
    specialise_fit.LatestCheckpoints = KilledCheckpoints
    try:
        with pytest.raises(KilledError):
            run("in parts", False, 2)
    finally:
        specialise_fit.LatestCheckpoints = kept
    parts = run("in parts", True, 2)
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    with pytest.raises(UsageError, match="another one"):
        specialise(
            face_network(),
            ["brows"],
            replace(face_job(tmp_path, recipe), output=tmp_path / "in parts", resume=True),
        )


def test_zeroed_kernels_stay_zero_when_a_student_learns_on(tmp_path, recipe):
    student = Network(*shrink_head(face_network().module, FACE, ["lips"]))
    with torch.no_grad():
        student.module.refine[0].weight[[1, 5]] = 0
    job = face_job(tmp_path, recipe, epochs=1)
    card = distill(student, Teacher(face_network(1).module, FACE, "t", share=1.0), job)
    assert zeroed_kernels(student.module)["refine.0"].nonzero()[:, 0].tolist() == [1, 5]
    assert card["figures_whole"]["protocol"] == card["figures"]["protocol"]


def test_a_student_comes_to_answer_as_its_teacher(tmp_path, recipe):
    teacher = Teacher(face_network(1).module, FACE, "t", share=1.0, temperature=1.0)
    student = Network(*shrink_head(face_network(2).module, FACE, ["lips", "skin"]))
    images = torch.stack([pair[0] for pair in open_pairs("drawn:24", "val", 64)]).float() / 127.5 - 1

    def apart():
        from toolchain.compress.specialise.reduction import ClassReduction

        reduction = ClassReduction(LABELS, student.spec.labels)
        with torch.no_grad():
            taught = reduction.logits(teacher.network.eval()(images, torch.zeros(len(images), 10, 64, 64)))
            own = student.module.eval()(images, torch.zeros(len(images), 4, 64, 64))
        return float((taught.softmax(1) - own.softmax(1)).abs().mean())

    before = apart()
    distill(student, teacher, face_job(tmp_path, recipe, epochs=6, learning_rate=1e-2))
    assert apart() < 0.5 * before


class Pixels(nn.Module):
    """A convolution, the mean of the picture, a linear layer; or logits of every pixel."""

    def __init__(self, classes, dense=False):
        super().__init__()
        self.dense = dense
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1) if dense else nn.Linear(8, classes)

    def forward(self, image):
        x = self.body(image)
        return self.head(x if self.dense else x.mean((2, 3)))


def classifier(labels, seed=0):
    torch.manual_seed(seed)
    spec = ModelSpec(
        "pixels", CLASSIFICATION, (TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),),
        (TensorSpec("logits", (1, len(labels)), layout="NC"),), Preprocess(), tuple(labels),
    )  # fmt: skip
    return Network(Pixels(len(labels)).eval(), spec)


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(0)
    for split, count in {"train": 20, "test": 6}.items():
        for name, colour in COLOURS.items():
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                picture = np.clip(np.array(colour) + random.normal(0, 20, (16, 16, 3)), 0, 255).astype(
                    np.uint8
                )
                cv2.imwrite(str(folder / f"{index}.png"), picture[..., ::-1])
    return f"images:{tmp_path / 'pictures'}"


def picture_job(tmp_path, pictures, **values):
    return Job(
        pictures,
        tmp_path / "out",
        epochs=8,
        batch_size=8,
        learning_rate=0.02,
        trainer={"accelerator": "cpu"},
        **{"calibrate": False, **values},
    )


def test_a_classifier_learns_two_of_its_classes(tmp_path, pictures):
    job = picture_job(tmp_path, pictures, sparsity=SparsitySettings(0.01, threshold=0.2), calibrate=True)
    card = specialise(classifier(["blue", "green", "red"]), ["red", "blue"], job)
    state, saved, _ = written(job.output, "pixels")
    # In the order of the network, not in that of the command or of the data.
    assert saved["labels"] == ["blue", "red"]
    assert state["head.weight"].shape == (2, 8)
    assert card["figures"]["test_error"] == 0
    assert card["figures"]["epoch"] == 8
    assert len(card["calibration"]["ranges"]["logits"]) == 2
    assert int((state["body.0.weight"].flatten(1) == 0).all(1).sum()) > 0


def test_a_classifier_takes_classes_that_only_the_data_knows(tmp_path, pictures):
    whole = classifier(["green", "a", "b", "c"])
    small = specialised_network(whole, ["blue", "green"], picture_job(tmp_path, pictures))
    assert small.spec.labels == ("green", "blue")
    torch.testing.assert_close(small.module.head.weight[0], whole.module.head.weight[0])
    card = specialise(whole, ["blue", "green"], picture_job(tmp_path, pictures))
    assert card["figures"]["test_error"] == 0


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["rad", "blue"], "no class 'rad'"),
        (["red"], "alone"),
        (["red", "green", "blue"], "nothing to leave out"),
    ],
)
def test_a_wrong_choice_of_classes_is_refused(tmp_path, pictures, classes, said):
    with pytest.raises(UsageError, match=said):
        specialise(classifier(list(COLOURS)), classes, picture_job(tmp_path, pictures))
    assert not (tmp_path / "out").exists()


def test_all_classes_are_fine_where_the_head_is_new(tmp_path, pictures):
    whole = replace(classifier(list(COLOURS)), new_head=True)
    assert specialised_network(whole, list(COLOURS), picture_job(tmp_path, pictures)).spec.labels == tuple(
        COLOURS
    )


def test_a_classifier_learns_from_a_teacher_without_seeing_the_truth(tmp_path, pictures):
    taught = classifier(list(COLOURS), 1)
    distill(
        taught,
        Teacher(classifier(list(COLOURS), 2).module, taught.spec, "t", share=0.0),
        picture_job(tmp_path, pictures),
    )
    student = classifier(list(COLOURS), 3)
    job = replace(picture_job(tmp_path, pictures), output=tmp_path / "student", epochs=20)
    card = distill(student, Teacher(taught.module, taught.spec, "t", share=1.0, temperature=2.0), job)
    assert card["figures"]["test_error"] == 0


@pytest.fixture
def masks(tmp_path):
    random = np.random.default_rng(0)
    # COCO's ids of person, cat and dog.
    for split, count in {"train2017": 20, "val2017": 6}.items():
        for part in ("images", "masks"):
            (tmp_path / "coco" / split / part).mkdir(parents=True)
        for index in range(count):
            mask = np.kron(random.choice([1, 17, 18], (2, 2)), np.ones((8, 8))).astype(np.uint8)
            picture = np.zeros((16, 16, 3), np.uint8)
            for number, colour in zip((1, 17, 18), COLOURS.values(), strict=True):
                picture[mask == number] = colour
            cv2.imwrite(
                str(tmp_path / "coco" / split / "images" / f"{index}.jpg"),
                picture[..., ::-1],
                [cv2.IMWRITE_JPEG_QUALITY, 100],
            )
            cv2.imwrite(str(tmp_path / "coco" / split / "masks" / f"{index}.png"), mask)
    return f"coco:{tmp_path / 'coco'}"


def segmenter():
    torch.manual_seed(0)
    labels = ("background", "cat", "dog", "person", "bicycle")
    spec = ModelSpec(
        "dense", SEGMENTATION, (TensorSpec("image", (1, 3, 16, 16), layout="NCHW"),),
        (TensorSpec("logits", (1, 5, 16, 16), layout="NCHW"),), Preprocess(), labels,
        tuple((40 * index, 0, 0) for index in range(5)),
    )  # fmt: skip
    return Network(Pixels(5, dense=True).eval(), spec)


def test_a_segmenter_learns_a_subset_and_is_judged_by_mean_iou(tmp_path, masks):
    job = replace(picture_job(tmp_path, masks), epochs=25, learning_rate=0.02)
    whole = segmenter()
    card = specialise(
        whole, ["person", "cat"], job, Teacher(segmenter().module, whole.spec, "t", 0.1, pairwise=0.1)
    )
    state, saved, _ = written(job.output, "dense")
    assert saved["labels"] == ["background", "cat", "person"]
    assert state["head.weight"].shape[0] == 3
    assert card["figures"]["test_mean_iou"] > 60
    assert card["figures"]["test_mean_iou"] > card["figures_whole"]["test_mean_iou"]


def test_what_is_trained_nowhere_is_said(tmp_path, recipe):
    network = face_network()
    other = Network(network.module, replace(FACE, labels=("background", *"abcdefghi"), name="other"))
    with pytest.raises(UnsupportedError, match="not trained here"):
        specialise(other, ["a"], face_job(tmp_path, recipe))
    with pytest.raises(UsageError, match="has no masks"):
        specialise(segmenter(), ["cat"], face_job(tmp_path, None))
