"""Scores: how well does each key answer each query? Dot, scaled, general and additive scoring."""

import math

from torch import Tensor

from attnlab.attention import shapes
from attnlab.errors import TensorError


def dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """Score every key for every query by their dot product.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D)
    key : Tensor, shape (..., T_k, D)

    Returns
    -------
    scores : Tensor, shape (..., T_q, T_k)

    Source: Luong et al. 2015, eq. 8 ("dot").
    """
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    return query @ key.transpose(-2, -1)  # (..., T_q, D) @ (..., D, T_k)


def scaled_dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """Score by the dot product over the square root of the width, which keeps the variance at 1.

    Shapes as in `dot_scores`. Source: Vaswani et al. 2017, section 3.2.1.
    """
    shapes.check_pair(query, key)
    shapes.check_width(query, key)
    # divided before the product: in half precision the product itself could overflow
    return dot_scores(query / math.sqrt(query.shape[-1]), key)


def general_scores(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """Score with a learned bilinear form, ``query @ weight @ key.T``; widths may differ.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D_q)
    key : Tensor, shape (..., T_k, D_k)
    weight : Tensor, shape (D_q, D_k)

    Source: Luong et al. 2015, eq. 8 ("general").
    """
    shapes.check_pair(query, key)
    shapes.check_parameter("weight", weight, (query.shape[-1], key.shape[-1]), query)
    return query @ weight @ key.transpose(-2, -1)


def additive_scores(
    query: Tensor, key: Tensor, query_weight: Tensor, key_weight: Tensor, vector: Tensor
) -> Tensor:
    """Score with a small network, ``vector · tanh(query @ query_weight + key @ key_weight)``.

    Parameters
    ----------
    query : Tensor, shape (..., T_q, D_q)
    key : Tensor, shape (..., T_k, D_k)
    query_weight : Tensor, shape (D_q, A)
    key_weight : Tensor, shape (D_k, A)
    vector : Tensor, shape (A,)

    Memory grows with T_q x T_k x A, where a dot product needs T_q x T_k.
    Source: Bahdanau et al. 2015, section 3.1 and appendix A.1.2.
    """
    shapes.check_pair(query, key)
    if not isinstance(vector, Tensor) or vector.dim() != 1:
        raise TensorError(
            f"vector has shape {shapes.shown(vector)}; additive scores need one axis, (A,)."
        )
    shapes.check_parameter("query_weight", query_weight, (query.shape[-1], len(vector)), query)
    shapes.check_parameter("key_weight", key_weight, (key.shape[-1], len(vector)), query)
    shapes.check_parameter("vector", vector, (len(vector),), query)
    hidden = (query @ query_weight).unsqueeze(-2) + (key @ key_weight).unsqueeze(-3)
    return hidden.tanh() @ vector  # (..., T_q, T_k, A) @ (A,)
