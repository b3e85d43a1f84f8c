"""Links in folders that others made: nothing is written through them, and nothing is copied from behind them."""

import shutil

import pytest

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import move_files, refuse_links, write_text
from tests.conftest import TINY

SECRET = "not yours"


@pytest.fixture
def elsewhere(tmp_path):
    """A file of the user's, outside every folder that is given."""
    file = tmp_path / "home" / "secret.txt"
    file.parent.mkdir()
    file.write_text(SECRET)
    return file


def test_a_link_in_the_place_of_the_half_written_file_is_not_written_through(elsewhere, tmp_path):
    (tmp_path / ".report.html.partial").symlink_to(elsewhere)
    write_text(tmp_path / "report.html", "new")
    assert elsewhere.read_text() == SECRET
    assert (tmp_path / "report.html").read_text() == "new" and not (tmp_path / "report.html").is_symlink()


def test_links_are_not_moved_into_the_output(elsewhere, tmp_path):
    source = tmp_path / "aside"
    source.mkdir()
    (source / "notes.txt").symlink_to(elsewhere)
    move_files(source, tmp_path / "out")
    assert not (tmp_path / "out" / "notes.txt").exists() and elsewhere.read_text() == SECRET


@pytest.mark.parametrize("name", [".saving", "README.md", "trainer_state.json", ".dialsum.json.partial", "runs"])
def test_training_does_not_start_in_a_folder_with_links(name, elsewhere, toy_base, tmp_path):
    from dialsum_trl.stages.sft import train_sft

    output = tmp_path / "run"
    output.mkdir()
    (output / name).symlink_to(elsewhere.parent if name in (".saving", "runs") else elsewhere)
    flags = ["--model_name_or_path", str(toy_base), "--output_dir", str(output), "--use_cpu", "true"]
    with pytest.raises(InputError, match="is a link to elsewhere"):
        train_sft({"train_file": str(TINY / "data" / "dev.csv"), "dtype": "float32"}, flags)
    assert elsewhere.read_text() == SECRET and list(elsewhere.parent.iterdir()) == [elsewhere]


def test_candidates_are_not_written_behind_a_link(elsewhere, toy_base, tmp_path):
    from dialsum_trl.stages.predict import predict

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "candidates").symlink_to(elsewhere.parent)
    flags = ["--model_name_or_path", str(toy_base), "--test_file", str(TINY / "data" / "test.csv")]
    with pytest.raises(InputError, match="candidates: is a link to elsewhere"):
        predict({}, [*flags, "--output_dir", str(tmp_path / "out"), "--use_cpu", "true", "--num_return_sequences", "2"])
    assert list(elsewhere.parent.iterdir()) == [elsewhere]


@pytest.fixture
def strange_adapter(trained_adapter, elsewhere, tmp_path):
    """An adapter whose template is a link."""
    folder = shutil.copytree(trained_adapter, tmp_path / "strange")
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").symlink_to(elsewhere)
    return folder


def test_a_soup_copies_nothing_from_behind_a_link(strange_adapter, trained_adapter, tmp_path):
    from dialsum_trl.models.soup import soup

    with pytest.raises(InputError, match=r"chat_template\.jinja: is a link to elsewhere"):
        soup([strange_adapter, trained_adapter], tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_a_best_adapter_of_ppo_is_not_taken_from_behind_a_link(elsewhere, tmp_path):
    from dialsum_trl.rl.ppo_checkpoints import best_files

    best = tmp_path / "checkpoint-2" / "best"
    best.mkdir(parents=True)
    (best / "adapter_config.json").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"adapter_config\.json: is a link to elsewhere"):
        best_files(best, tmp_path / "partial")


def test_snapshots_of_the_hubs_cache_are_read(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "abc", tmp_path / "models--a--b" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "123").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/123")
    refuse_links(snapshot / "config.json")  # no error
    (blobs / "456").symlink_to(tmp_path / "models--a--b")
    (snapshot / "other").symlink_to("../../blobs/456")
    with pytest.raises(InputError, match="other: is a link to elsewhere"):
        refuse_links(snapshot / "other")
