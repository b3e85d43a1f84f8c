"""The page of `dialsum chat --ui`: the real Gradio server on loopback, driven by Gradio's client."""

import socket
from types import SimpleNamespace

import pytest

from dialsum_trl.cli import chat

DIALOGUE = "#Person1#: 내일 회의는 몇 시인가요?\n#Person2#: 오후 세 시입니다.\n"


@pytest.fixture(scope="module")
def page(trained_adapter):
    """`.url` of a running page and the `.summarizer` behind it."""
    pytest.importorskip("gradio", reason='the page needs the extra: pip install "dialsum-trl[ui]"')
    from dialsum_trl.cli.page import build_page

    summarizer = chat.load(str(trained_adapter), None, None)
    blocks = build_page(lambda dialogue: chat.stream(summarizer, dialogue, 12), "my-adapter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, url, _ = blocks.launch(server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True)
    yield SimpleNamespace(url=url, summarizer=summarizer)
    blocks.close()


@pytest.fixture(scope="module")
def client(page):
    from gradio_client import Client

    return Client(page.url, verbose=False)


def test_the_page_names_the_adapter_and_stays_on_this_machine(page):
    import urllib.request

    assert page.url.startswith("http://127.0.0.1:")
    assert "my-adapter" in urllib.request.urlopen(page.url).read().decode()


def test_the_button_streams_the_summary_of_the_terminal(page, client):
    job = client.submit(DIALOGUE, api_name="/summarize")
    pieces = list(chat.stream(page.summarizer, DIALOGUE, 12))
    assert job.result() == "".join(pieces)
    assert job.outputs()[-1].startswith(job.outputs()[0])


def test_an_empty_dialogue_is_shown_as_the_same_clear_line(client):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="the dialogue is empty"):
        client.predict(" \n ", api_name="/summarize")
