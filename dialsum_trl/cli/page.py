"""The page of `dialsum chat --ui` (needs the extra `ui`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dialsum_trl.core.errors import InputError

if TYPE_CHECKING:
    import gradio

EXAMPLES = (
    "#Person1#: 내일 회의 자료는 준비됐어요?\n#Person2#: 거의 다 됐어요. 오늘 오후에 보내 드릴게요.\n"
    "#Person1#: 고마워요. 세 시 전까지 부탁해요.",
    "#Person1#: 주말에 뭐 했어?\n#Person2#: 친구랑 산에 다녀왔어. 정상에서 본 경치가 정말 좋았어.\n"
    "#Person1#: 다음에는 나도 같이 가자.",
)


def build_page(summarize: Callable[[str], Iterator[str]], title: str) -> gradio.Blocks:
    """A text box for the dialogue and one for the summary, which grows as `summarize` yields pieces."""
    import gradio as gr  # optional: the extra `ui`

    def grow(dialogue):
        text = ""
        try:
            for piece in summarize(dialogue):
                text += piece
                yield text
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    with gr.Blocks(title="dialsum", analytics_enabled=False) as page:
        gr.Markdown(f"## 대화 요약\n{title}")
        dialogue = gr.Textbox(label="대화", lines=8, placeholder="#Person1#: ...\n#Person2#: ...")
        button = gr.Button("요약", variant="primary")
        summary = gr.Textbox(label="요약", lines=3)
        gr.Examples([[example] for example in EXAMPLES], inputs=dialogue, label="예시")
        button.click(grow, dialogue, summary, api_name="summarize")
    return page
