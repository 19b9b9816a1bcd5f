"""The built-in photographs: what they promise about their splits, and that they do not change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from layerwise import data
from layerwise.data._photographs import FACES, PHOTOGRAPHS, path_of, regions_of
from layerwise.data._photos import SIDE, PhotoLoader, Recipe
from layerwise.data.laws import check


@pytest.fixture(scope="module")
def photos():
    return data.open("photos")


def overlap(one, other):
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(
        one[3], other[3]
    )


def test_samples_keep_the_laws(photos):
    check(photos, tries=20)
    assert 1100 <= len(photos) <= 1300
    assert photos.modality == "image"


def test_targets_are_of_different_nature(photos):
    kinds = {name: (target.kind, len(target.classes)) for name, target in photos.targets.items()}
    assert kinds == {
        "photo": ("class", 18),
        "blur": ("class", 5),
        "brightness": ("number", 0),
        "rotation": ("class", 4),
    }


def test_every_area_lies_inside_its_photograph():
    for photograph in PHOTOGRAPHS:
        with Image.open(path_of(photograph)) as picture:
            left, upper, right, lower = photograph.area
            assert 0 <= left < right <= picture.width
            assert 0 <= upper < lower <= picture.height


def test_regions_do_not_overlap_and_every_box_lies_in_its_own(photos):
    cells = {each.name: regions_of(each) for each in (*PHOTOGRAPHS, FACES)}
    for regions in cells.values():
        assert not any(overlap(one, other) for one, other in itertools.combinations(regions, 2))
    for recipe, name in zip(photos.items, photos.names, strict=True):
        number = int(
            name.partition(",")[0].split()[1]
            if recipe.photo == "face"
            else name.partition(", region ")[2].partition(",")[0]
        )
        cell = cells[recipe.photo][number - 1]
        left, upper, right, lower = recipe.box
        assert cell[0] <= left < right <= cell[2]
        assert cell[1] <= upper < lower <= cell[3]


@pytest.mark.parametrize("seed", range(3))
def test_no_test_crop_shares_a_pixel_with_a_training_crop(photos, seed):
    parts = data.split(photos, "photo", seed=seed)
    fit = [*parts.train.tolist(), *parts.validation.tolist()]
    for row in parts.test.tolist():
        mine = photos.items[row]
        assert not any(
            photos.items[other].photo == mine.photo and overlap(photos.items[other].box, mine.box)
            for other in fit
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", ["blur", "brightness"])
def test_low_level_targets_are_tested_on_photographs_never_trained_on(photos, target, seed):
    parts = data.split(photos, target, seed=seed)
    of_test = {photos.items[row].photo for row in parts.test.tolist()}
    of_train = {photos.items[row].photo for row in parts.train.tolist()}
    assert not of_test & of_train
    assert len(of_test) >= 3


def test_blur_and_rotation_are_balanced_on_every_side(photos):
    for name in ("blur", "rotation"):
        parts = data.split(photos, name, seed=0)
        for side in (parts.train, parts.validation, parts.test):
            counts = photos.targets[name].values[side].bincount()
            assert counts.min() > 0.8 * counts.max()


def test_rotation_is_known_for_the_faces_and_the_rest_for_the_photographs(photos):
    face = [recipe.photo == "face" for recipe in photos.items]
    assert photos.targets["rotation"].known.tolist() == face
    assert photos.targets["blur"].known.tolist() == [not each for each in face]
    assert photos.targets["photo"].known.tolist() == [not each for each in face]
    assert photos.targets["brightness"].known.tolist() == [not each for each in face]


def test_the_values_are_those_of_the_recipes(photos):
    for row in range(0, len(photos), 97):
        recipe = photos.items[row]
        if recipe.photo != "face":
            assert photos.targets["brightness"].values[row] == recipe.brightness
            blur = photos.targets["blur"]
            assert float(blur.classes[int(blur.values[row])]) == recipe.blur


def test_a_plain_recipe_is_a_plain_crop():
    recipe = Recipe("astronaut", (64, 32, 64 + SIDE, 32 + SIDE), 0, 0.0, 1.0, 1.0, (1.0, 1.0, 1.0))
    with Image.open(path_of(PHOTOGRAPHS[0])) as picture:
        expected = picture.convert("RGB").crop(recipe.box)
    assert np.array_equal(np.asarray(PhotoLoader()(recipe)), np.asarray(expected))


def test_a_recipe_does_what_it_says():
    box = (64, 32, 64 + SIDE, 32 + SIDE)
    plain = PhotoLoader()(Recipe("astronaut", box, 0, 0.0, 1.0, 1.0, (1.0, 1.0, 1.0)))
    turned = PhotoLoader()(Recipe("astronaut", box, 90, 0.0, 1.0, 1.0, (1.0, 1.0, 1.0)))
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(plain)))
    blurred = PhotoLoader()(Recipe("astronaut", box, 0, 2.5, 1.0, 1.0, (1.0, 1.0, 1.0)))
    assert np.array_equal(
        np.asarray(blurred), np.asarray(plain.filter(ImageFilter.GaussianBlur(2.5)))
    )
    dark = np.asarray(PhotoLoader()(Recipe("astronaut", box, 0, 0.0, 0.5, 1.0, (1.0, 1.0, 1.0))))
    assert np.abs(dark - np.asarray(plain) / 2).max() <= 0.5
    grey = np.asarray(PhotoLoader()(Recipe("astronaut", box, 0, 0.0, 1.0, 0.0, (1.0, 1.0, 1.0))))
    assert np.ptp(grey, axis=-1).max() == 0


def test_the_set_is_the_same_every_time_and_limits_nest(photos):
    assert data.open("photos").keys == photos.keys
    small, smaller = data.open("photos", limit=200), data.open("photos", limit=90)
    assert set(smaller.keys) < set(small.keys) < set(photos.keys)
    assert len({recipe.photo for recipe in smaller.items}) == 19
    rows = {name: row for row, name in enumerate(photos.names)}
    assert all(
        photos.keys[rows[name]] == key for name, key in zip(small.names, small.keys, strict=True)
    )


def test_targets_can_be_chosen():
    assert list(data.open("photos", targets=["blur", "photo"]).targets) == ["blur", "photo"]
