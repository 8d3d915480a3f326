"""Exercise ``distillation_loss``: the teacher's softened answers, and the labels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnlab.course.checks.examiner import (
    GRADIENT_LOST,
    NO_GRADIENT,
    Answer,
    Call,
    CheckFailed,
    Comparison,
    Draw,
    Exercise,
    Held,
    Mistake,
    a_tensor,
    backward,
    not_finite,
    require,
    same,
    where,
)

INTO_TEACHER = (
    "The result is right, but a gradient flows into the teacher: it would be trained to agree with "
    "its student.\nWhich call cuts a tensor off from what it was computed from?"
)
OF_THE_STUDENT = (
    "The result is right, but the student's gradient is not.\n"
    "Is a part of the student's side computed under detach() or no_grad()?"
)
SURE = (
    "Where a model is very sure, probabilities become 0 in the computer, and the result infinite "
    "or NaN.\nWhich function gives log-probabilities without computing probabilities first?"
)
CUT_OFF = (
    "Where a model is very sure, the loss is too small: tiny probabilities are raised to a least "
    "one before the log.\nWhich function gives log-probabilities without computing probabilities "
    "first?"
)


def check(answer: Answer, draw: Draw) -> Held:
    """``distillation_loss(student, teacher, labels, temperature, label_weight)``: one number."""
    compared = Comparison(answer, reference, MISTAKES, what="loss", tolerance=1e-4)
    otherwise = (
        "With temperature {temperature} and label_weight {weight} the loss is {found}; it should "
        "be {right:.4f}.\nWhich part of it is computed differently?"
    )

    def drawn(
        texts: int, temperature: float, weight: float, wide: float = 2.0, classes: int = 0
    ) -> Call:
        classes = classes or draw.whole(3, 5)
        labels = torch.tensor([draw.whole(0, classes - 1) for _ in range(texts)])
        given = wide * draw.normal(2, texts, classes)
        return Call(given[0], given[1], labels, temperature, weight)

    with where("For one text, at temperature 1 and without labels:"):
        compared.on(lambda: drawn(1, 1.0, 0.0), otherwise, facts=_facts)
    yield "the divergence from the teacher's answer"

    with where("For one text, without labels:"):
        compared.on(lambda: drawn(1, 2.0, 0.0), otherwise, facts=_facts)
    compared.on(lambda: drawn(1, 3.5, 0.0), otherwise, facts=_facts)
    yield "both softened by the temperature, and its square"

    with where("For several texts, without labels:"):
        compared.on(lambda: drawn(6, 2.0, 0.0), otherwise, facts=_facts)
    yield "the mean over the texts"

    compared.on(lambda: drawn(6, 2.0, 0.3), otherwise, facts=_facts)
    compared.on(lambda: drawn(5, 4.0, 1.5), otherwise, facts=_facts)
    yield "the cross-entropy with the labels, weighted"

    with where("With 200 classes, each of small probability:"):
        compared.on(lambda: drawn(3, 1.5, 0.3, wide=1.0, classes=200), otherwise, facts=_facts)

    with where("With logits hundreds apart:"):
        call = drawn(4, 1.0, 0.5, wide=200.0)
        compared.on(
            lambda: drawn(4, 1.0, 0.5, wide=200.0),
            otherwise,
            facts=_facts,
            read=lambda result, right: a_tensor(result, (), "loss", may_be_nan=True),
        )
    yield "very sure models, too"

    for given in (drawn(6, 2.0, 0.0), drawn(6, 2.0, 0.3), call):
        _gradients(answer, given)
    yield "a gradient for the student, none for the teacher"


def _gradients(answer: Answer, call: Call) -> None:
    """Require the right gradient for the student, and none for the teacher."""
    student, teacher = (given.clone().requires_grad_() for given in call.arguments[:2])
    (right,) = torch.autograd.grad(reference(student, teacher, *call.arguments[2:]), student)
    loss = a_tensor(answer(student, teacher, *call.arguments[2:]), (), "loss")
    mine, teachers = backward(loss, [student, teacher], torch.ones(()))
    if mine is None:
        raise CheckFailed(OF_THE_STUDENT)
    require(mine.isfinite().all(), GRADIENT_LOST)
    none = teachers is None or not bool((teachers != 0).any())
    require(none, INTO_TEACHER)
    require(same(mine, right, 1e-3), OF_THE_STUDENT)


def reference(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, label_weight: float
) -> Tensor:
    """Text by text, class by class, from differences to the log of the sum."""
    total = torch.zeros((), dtype=torch.float64)
    for mine, theirs, label in zip(
        student.double(), teacher.detach().double(), labels.tolist(), strict=True
    ):
        soft, target = mine / temperature, theirs / temperature
        for score, wanted in zip(
            soft - soft.logsumexp(0), target - target.logsumexp(0), strict=True
        ):
            total = total + temperature**2 * wanted.exp() * (wanted - score)
        total = total + label_weight * (mine.logsumexp(0) - mine[label])
    return (total / len(student)).to(student.dtype)


def _facts(call: Call, result: Any) -> dict[str, Any]:
    number = isinstance(result, Tensor) and result.numel() == 1
    return {
        "temperature": call.arguments[3],
        "weight": call.arguments[4],
        "right": call.of(reference).item(),
        "found": f"{result.item():.4f}" if number else "none",
    }


# --- What learners write instead -----------------------------------------------------------------

Softened = Callable[[Tensor, float], Tensor]


def _divided(logits: Tensor, temperature: float) -> Tensor:
    return logits / temperature


def _as_it_is(logits: Tensor, temperature: float) -> Tensor:
    return logits


def _sum_of_classes(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1)


def _distilling(
    student_at: Softened = _divided,
    teacher_at: Softened = _divided,
    divergence: Callable[[Tensor, Tensor], Tensor] = _sum_of_classes,
    over_texts: Callable[[Tensor], Tensor] = torch.mean,
    factor: Callable[[float], float] = lambda temperature: temperature**2,
    labels_at: Softened = _as_it_is,
    combined: Callable[[Tensor, Tensor, float], Tensor] = lambda soft, hard, weight: (
        soft + weight * hard
    ),
    log_softmax: Callable[[Tensor], Tensor] = lambda logits: logits.log_softmax(-1),
    fixed: Callable[[Tensor], Tensor] = torch.detach,
) -> Callable[..., Tensor]:
    """The loss with a part exchanged."""

    def answer(
        student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, label_weight: float
    ) -> Tensor:
        mine = log_softmax(student_at(student, temperature))
        theirs = log_softmax(teacher_at(fixed(teacher), temperature))
        soft = factor(temperature) * over_texts(divergence(mine, theirs))
        hard = F.cross_entropy(labels_at(student, temperature), labels)
        return combined(soft, hard, label_weight)

    return answer


def _mean_of_all(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return (log_teacher.exp() * (log_teacher - log_student)).mean(-1)


def _without_log(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return F.kl_div(log_student.exp(), log_teacher.exp(), reduction="none").sum(-1)


def _squared_logits(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, label_weight: float
) -> Tensor:
    soft = F.mse_loss(student, teacher.detach())
    return soft + label_weight * F.cross_entropy(student, labels)


def _student_detached(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, label_weight: float
) -> Tensor:
    right = _distilling()
    soft = right(student.detach(), teacher, labels, temperature, 0.0)
    return soft + label_weight * F.cross_entropy(student, labels)


def _labels_without_gradient(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, label_weight: float
) -> Tensor:
    soft = _distilling()(student, teacher, labels, temperature, 0.0)
    return soft + label_weight * F.cross_entropy(student.detach(), labels)


ONE_FACTOR = (
    "The gradient at temperature T is T² times smaller than at 1: what does the factor make good?"
)
MISTAKES = [
    Mistake(
        _distilling(divergence=lambda mine, theirs: _sum_of_classes(theirs, mine)),
        "The two have changed places: KL(student || teacher) came out.\n"
        "Whose probabilities weigh the classes?",
    ),
    Mistake(
        _distilling(divergence=_mean_of_all),
        "The mean over classes is taken where their sum is asked for; kl_div does so with "
        'reduction="mean".\nWhich reduction divides by the number of texts only?',
    ),
    Mistake(
        _distilling(divergence=lambda mine, theirs: -_sum_of_classes(mine, theirs)),
        "The sign is the other way round: the student would learn to differ.\n"
        "Which of the two logs is subtracted from which?",
    ),
    Mistake(
        _distilling(divergence=lambda mine, theirs: -(theirs.exp() * mine).sum(-1)),
        "The teacher's entropy is still in it: this is the cross-entropy with the teacher. Its "
        "gradient is the same, but it is not 0 where both agree.\nWhich term is missing?",
    ),
    Mistake(
        _distilling(divergence=_without_log),
        "The student's probabilities stand where their logs are needed; kl_div expects them as "
        "its first argument.\nIs a log missing?",
    ),
    Mistake(
        _squared_logits,
        "The logits are compared, by their squared differences.\n"
        "What has to happen to logits before they are probabilities?",
    ),
    Mistake(
        _distilling(factor=lambda temperature: 1.0),
        f"The factor temperature² is missing.\n{ONE_FACTOR}",
    ),
    Mistake(
        _distilling(factor=lambda temperature: temperature),
        f"The factor is the temperature, not its square.\n{ONE_FACTOR}",
    ),
    Mistake(
        _distilling(factor=lambda temperature: 1 / temperature**2),
        f"You divide by temperature², where you should multiply.\n{ONE_FACTOR}",
    ),
    Mistake(
        _distilling(student_at=_as_it_is),
        "Only the teacher is softened.\nAt which temperature must the student answer, to be "
        "compared?",
    ),
    Mistake(
        _distilling(teacher_at=_as_it_is),
        "Only the student is softened.\nAt which temperature must the teacher answer, to be "
        "compared?",
    ),
    Mistake(
        _distilling(student_at=_as_it_is, teacher_at=_as_it_is),
        "The temperature is a factor only: the answers are compared as they are.\n"
        "What should it divide?",
    ),
    Mistake(
        _distilling(
            student_at=lambda logits, temperature: logits * temperature,
            teacher_at=lambda logits, temperature: logits * temperature,
        ),
        "The answers become sharper with temperature, not softer.\n"
        "Should logits be multiplied by it?",
    ),
    Mistake(
        _distilling(over_texts=torch.sum),
        "The texts are added up, so that the loss grows with the batch.\nBy what should you "
        "divide?",
    ),
    Mistake(
        _distilling(over_texts=lambda losses: losses.mean() / losses.numel()),
        "You divide by the number of texts twice.\nIs the result of a mean divided again?",
    ),
    Mistake(
        _distilling(combined=lambda soft, hard, weight: soft),
        "The labels have no effect.\nWhere does label_weight come in?",
    ),
    Mistake(
        _distilling(combined=lambda soft, hard, weight: (1 - weight) * soft + weight * hard),
        "The divergence is multiplied by 1 - label_weight. That is another usual form; here its "
        "weight is always 1.\nWhat does the formula say?",
    ),
    Mistake(
        _distilling(combined=lambda soft, hard, weight: soft + hard if weight else soft),
        "The cross-entropy counts fully.\nWhere does label_weight come in?",
    ),
    Mistake(
        _distilling(combined=lambda soft, hard, weight: weight * soft + (1 - weight) * hard),
        "The weight is on the wrong part, and 1 - label_weight on the other.\n"
        "What does the formula say?",
    ),
    Mistake(
        _distilling(labels_at=_divided),
        "The cross-entropy with the labels is softened, too.\n"
        "At which temperature will the student answer once it is trained?",
    ),
    Mistake(
        _distilling(log_softmax=lambda logits: logits.softmax(-1).log()),
        SURE,
        alike=not_finite,
    ),
    Mistake(
        _distilling(log_softmax=lambda logits: (logits.softmax(-1) + 1e-8).log()),
        CUT_OFF,
    ),
    Mistake(
        _distilling(log_softmax=lambda logits: logits.softmax(-1).clamp_min(1e-12).log()),
        CUT_OFF,
    ),
    Mistake(_distilling(fixed=lambda logits: logits), INTO_TEACHER, compared=False),
    Mistake(
        lambda student, *rest: _distilling()(student.detach(), *rest), NO_GRADIENT, compared=False
    ),
    Mistake(_student_detached, OF_THE_STUDENT, compared=False),
    Mistake(_labels_without_gradient, OF_THE_STUDENT, compared=False),
]

EXERCISE = Exercise(
    "distillation_loss",
    "compression",
    2,
    check,
    frozenset({"attnlab.distillation_loss"}),
    MISTAKES,
)
