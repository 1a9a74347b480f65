"""Any string at all: a verdict, soon, and never a fault of ours. `RLVR_FUZZ` sets how many strings (default 400)."""

import os
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlvr.types import Status
from rlvr.verifiers.math import Math
from rlvr.verifiers.math.extract import extract

EXAMPLES = int(os.environ.get("RLVR_FUZZ", "400"))
SLOWEST = 2.0  # seconds, on a busy machine

PIECES = r"""
\frac \sqrt \boxed{ { } ( ) [ ] \{ \} \left \right \text{ \pi \infty \sin \cos \log \ln \pm \mp \cup \in \le
\ge \ne \approx \circ \begin{pmatrix} \end{pmatrix} \\ & ^ _ ^{ _{ ! | , ; : . + - * / = < > % \% \$ $ ' ~ \,
\! \; \overline{ \binom \choose \over \lfloor \rfloor \langle \rangle \setminus \emptyset \mathbb{R} \dot \bar
\angle \triangle 0 1 2 3 7 10 12 42 999 1,000 0.5 .25 1e5 1e-9 x y n i e a f( g( x_1 sin cos sqrt( pi oo cm m
kg hours dollars million or and percent base not Evelyn (A) B A5 ½ ² √ × − ≤ ∞ ° ٣ \n \x00 the answer is
Answer: #### </think> <think> \sum \int \lim \begin{cases} \operatorname{gcd} \gcd \max \exp( max( \mathrm{cm}
\displaystyle \quad""".split()
pieces = st.lists(st.sampled_from([*PIECES, " ", "\n"]), max_size=40).map("".join)
spaced = st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)
anything = st.one_of(pieces, spaced, st.text(max_size=80))
golds = st.sampled_from(
    ["42", "\\frac{1}{2}", "x^2+1", "(1,2)", "[0,1)", "\\{1,2\\}", "y = 2x + 3", "\\text{Evelyn}", "2112_6",
     "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "1 \\pm \\sqrt{2}", "x > 3", "4:30", "5\\text{ cm}"]
)  # fmt: skip
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@fuzz
@given(anything, golds)
def test_any_answer(answer: str, gold: str) -> None:
    for response in (f"\\boxed{{{answer}}}", f"The answer is {answer}", answer):
        start = time.perf_counter()
        verdict = Math()(response, gold)
        assert time.perf_counter() - start < SLOWEST
        assert verdict.status is not Status.BROKEN, verdict
        assert Math().key(response) == Math().key(response)


@fuzz
@given(anything)
def test_any_reference(reference: str) -> None:
    verdict = Math()("\\boxed{-987654321}", reference)
    if verdict.correct:
        assert "987654321" in reference
    again = Math()("\\boxed{-987654321}", reference)
    assert verdict.status is again.status


@fuzz
@given(st.one_of(pieces, st.text(alphabet="\\boxed{}$ ans:wer#i1.\n", max_size=300)))
def test_what_is_extracted_stands_in_the_response(response: str) -> None:
    for found in extract(response, lenient=True):
        assert len(found.text) <= len(response)
        if found.source in ("box", "last number"):
            assert found.text in response
