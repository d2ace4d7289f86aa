import numpy as np
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import ImageError
from hv_utils.network.preprocessing import (
    augmentation_layers,
    batches,
    class_weights,
    image_data_generator,
    load_images,
)

SIZE = (32, 48)


@pytest.fixture
def paths(tmp_path):
    """Ten images, each of one grey level: its number times 20."""
    files = [tmp_path / f"{number}.png" for number in range(10)]
    for number, file in enumerate(files):
        Image.new("RGB", (60, 40), (20 * number,) * 3).save(file)
    return files


def numbers(images):
    return [round(float(image.mean()) / 20) for image in images]


def test_load_images_keeps_order_and_range(paths):
    images = load_images(paths, size=SIZE)
    assert images.shape == (10, *SIZE, 3)
    assert images.dtype == np.uint8
    assert numbers(images) == list(range(10))


def test_load_images_names_the_broken_file(paths):
    paths[3].write_text("no image")
    with pytest.raises(ImageError, match=r"3\.png"):
        load_images(paths, size=SIZE)


def test_batches_are_0_to_255_and_keep_the_short_last_one(paths):
    parts = [batch.numpy() for batch in batches(paths, size=SIZE, batch_size=4)]
    assert [part.shape for part in parts] == [(4, *SIZE, 3), (4, *SIZE, 3), (2, *SIZE, 3)]
    assert parts[0].dtype == np.float32
    assert numbers(np.concatenate(parts)) == list(range(10))  # so nothing was divided by 255


def test_batches_come_pass_after_pass_with_image_and_label_together(paths):
    orders = np.array([[3, 1, 4, 0, 5], [9, 2, 6, 8, 7]])
    parts = list(batches(paths, range(10), size=SIZE, batch_size=3, orders=orders))
    assert [len(labels) for _, labels in parts] == [3, 2, 3, 2], "no batch reaches into two passes"
    assert all(numbers(images.numpy()) == labels.numpy().tolist() for images, labels in parts)
    assert np.concatenate([labels for _, labels in parts]).tolist() == orders.ravel().tolist()


def test_augmentation_acts_in_training_only_and_stays_in_range(paths):
    images = np.repeat(np.linspace(0, 255, 48, dtype=np.float32)[None, None, :, None], 32, 1)
    images = np.repeat(np.repeat(images, 3, 3), 6, 0)
    layers = augmentation_layers(seed=1)
    np.testing.assert_array_equal(layers(images, training=False), images)
    changed = np.asarray(layers(images, training=True))
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({image.tobytes() for image in changed}) == 6, "each image in its own way"
    assert (np.abs(changed - images).mean(axis=(1, 2, 3)) > 1).all()


def test_augmentation_is_fixed_by_its_seed_and_the_step(paths):
    def augmented(seed, **options):
        layers = augmentation_layers(seed=seed, stain=0.1)
        options = {"size": SIZE, "batch_size": 4, "augment": layers, **options}
        return np.concatenate([batch.numpy() for batch in batches(paths, **options)])

    np.testing.assert_array_equal(augmented(5), augmented(5))
    assert not np.array_equal(augmented(5), augmented(6))
    both = augmented(5, orders=np.array([range(10)] * 2))
    assert not np.array_equal(both[10:], both[:10]), "each pass in another way"
    second = augmented(5, orders=np.array([range(10)]), first_step=3)
    np.testing.assert_array_equal(second, both[10:], "a pass depends on its number alone")


@pytest.mark.filterwarnings("ignore")
def test_both_ways_of_augmenting_move_images_by_the_same_amount():
    """A bright dot moves; its mean distance from the centre must be alike in both ways."""
    size = 65
    dot = np.zeros((200, size, size, 3), np.float32)
    dot[:, size // 2 - 2 : size // 2 + 3, size // 2 - 2 : size // 2 + 3] = 255

    def distance(images):
        images = np.asarray(images)[..., 0]
        grid = np.arange(size) - size // 2
        total = images.sum((1, 2))
        y = (images.sum(2) * grid).sum(1) / total
        x = (images.sum(1) * grid).sum(1) / total
        return np.hypot(x, y).mean() / size

    layers = augmentation_layers(rotation_degrees=0, zoom=0, shift=0.2, flip=False)
    generator = image_data_generator(rotation_degrees=0, zoom=0, shift=0.2, flip=False)
    flow = generator.flow(dot, batch_size=len(dot), shuffle=False, seed=0)
    assert distance(layers(dot, training=True)) == pytest.approx(distance(next(flow)), abs=0.02)


def test_class_weights_balance():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = class_weights(labels)
    totals = [weights[label] * labels.count(label) for label in (0, 1, 2)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert class_weights([0, 1, 1, 0]) == {0: 1.0, 1: 1.0}
    with pytest.raises(HematoVisionError, match="no"):
        class_weights([])
