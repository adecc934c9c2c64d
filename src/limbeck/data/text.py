"""Classified texts: from files, from the Hugging Face hub, and Banking77."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from limbeck.arguments import Count
from limbeck.data.build import from_tensors
from limbeck.data.construct import written
from limbeck.data.labels import class_ids, labels_in
from limbeck.data.rows import Rows, portions, read
from limbeck.data.source import Source
from limbeck.data.tokens import LEAST_VOCABULARY, encode, train_tokenizer
from limbeck.errors import LimbeckError, unknown
"E
