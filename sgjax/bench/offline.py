"""`sgjax bench offline`: named workloads through `sgjax.Engine`, token ids in and out."""

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sgjax.bench.prompts import make_prompts
from sgjax.bench.report import Figure
from sgjax.bench.schemas import CONSTRAINTS, check_tokenizer
from sgjax.bench.workloads import Workload
from sgjax.errors import BenchmarkFailed, ConfigError
from sgjax.front.engine import Engine
from sgjax.sampling_params import SamplingParams

DECODE_RUNS = 2
PREFILL_RUNS = 3
_SMALLER = "a smaller --scale (of latency: --batch-size, --input-len, --output-len)"
WARM_UP_PROMPT, WARM_UP_OUTPUT, WARM_UP_REQUESTS = 256, 16, 16


class Bench:
    """Measures workloads on an engine that is ready."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._info: dict[str, Any] = engine.get_server_info()["engine"]

    def check(self, workload: Workload) -> None:
        """Raises ConfigError for a workload that this engine cannot run as it is meant."""
        limit = min(self._info["context_length"], self._info["max_total_tokens"])
        self._check_task(workload)
        if workload.bound_to is not None:
            check_tokenizer(workload.name, has_tokenizer=self._engine.tokenizer is not None)
        if workload.longest > limit:
            raise ConfigError(
                f"{workload.name} has a request of {workload.longest} tokens, but this engine "
                f"takes {limit}. Choose a model or a --context-length that takes it, or {_SMALLER}."
            )
        if workload.measure in ("decode", "beside"):
            self._check_room(workload)

    def _check_task(self, workload: Workload) -> None:
        """Of a model that generates no vectors are measured, and the other way round."""
        gives_vectors = self._info["task"] != "generate"
        if workload.measure != "start" and (workload.measure == "encode") != gives_vectors:
            does, name = ("gives vectors", "encode") if gives_vectors else ("generates", "decode")
            raise ConfigError(
                f"{workload.name} is not for this model, which {does}. Choose another, or measure "
                f"{name}."
            )

    def _check_room(self, workload: Workload) -> None:
        """All requests must run at a time, with all of their tokens in the cache."""
        count = len(workload.jobs) + len(workload.bound_jobs)
        rows = self._info["max_running_requests"]
        if count > rows:
            raise ConfigError(
                f"{workload.name} decodes {count} requests at a time, but this engine runs {rows}. "
                f"Raise --max-running-requests, or choose {_SMALLER}."
            )
        num_tokens, room = count * workload.longest, self._info["max_total_tokens"]
        if num_tokens > room:
            raise ConfigError(
                f"{workload.name} keeps {num_tokens} tokens in the cache, but this engine's holds "
                f"{room}. Raise --max-total-tokens, or choose {_SMALLER}."
            )

    def measure(self, workload: Workload) -> list[Figure]:
        """The figures of a workload, after a short warm-up and with an empty prefix cache."""
        self._warm_up(workload)
        self._engine.flush_cache()
        match workload.measure:
            case "decode":
                return [self._decode(workload)]
            case "beside":
                return [self._beside(workload)]
            case "prefill" | "encode":
                return self._prefill(workload)
            case "whole" if workload.bound_to is not None:
                return self._bound(workload)
            case "whole":
                return self._whole(workload)
        raise ValueError(workload.measure)

    def num_generated(self, workload: Workload) -> int:
        """Tokens that measuring it generates in all."""
        count = len(workload.jobs)
        match workload.measure:
            case "decode" | "beside":
                return count + DECODE_RUNS * (count + workload.num_output)
            case "prefill":
                return PREFILL_RUNS * workload.num_output
        return workload.num_output

    def _decode(self, workload: Workload) -> Figure:
        """A step: the time of all tokens less that of the first, with prompts in the cache."""
        return self._step(workload, CONSTRAINTS.get(workload.bound_to or "", {}))

    def _step(self, workload: Workload, constraint: Mapping[str, str]) -> Figure:
        prompts = self._prompts(workload)
        num_output = workload.jobs[0].num_output
        self._time(prompts, [1] * len(prompts), constraint)
        runs = []
        for _ in range(DECODE_RUNS):
            runs.append(self._time(prompts, [1] * len(prompts), constraint))
            runs.append(self._time(prompts, [num_output] * len(prompts), constraint))
        step = (min(runs[1::2]) - min(runs[::2])) / (num_output - 1)
        return Figure(name=workload.name, value=step * 1e3, unit="ms", runs=runs)

    def _beside(self, workload: Workload) -> Figure:
        """A step of the free requests, while the bound ones decode: those that end begin again."""
        bound = dataclasses.replace(workload, jobs=workload.bound_jobs)
        each = self._info["max_total_tokens"] // (2 * len(bound.jobs))
        longest = max(workload.longest, min(self._info["context_length"], each))
        outputs = [longest - job.num_prompt for job in bound.jobs]
        prompts, constraint = self._prompts(bound), CONSTRAINTS[workload.bound_to or ""]
        is_over = threading.Event()

        def decode() -> None:
            while not is_over.is_set():
                self._generate(prompts, outputs, constraint)

        with ThreadPoolExecutor(1) as thread:
            decoding = thread.submit(decode)
            try:
                while self._num_decoding() < len(bound.jobs) and not decoding.done():
                    time.sleep(0.01)
                return self._step(workload, {})
            finally:
                is_over.set()
                while not decoding.done():
                    self._engine.abort_request(abort_all=True)
                    time.sleep(0.01)
                decoding.result()

    def _num_decoding(self) -> int:
        return self._engine.get_server_info()["stats"]["num_running"]

    def _bound(self, workload: Workload) -> list[Figure]:
        """Requests that end where their grammar does."""
        outputs = [job.num_output for job in workload.jobs]
        constraint = CONSTRAINTS[workload.bound_to or ""]
        self._generate(self._prompts(workload, seed=1)[:1], outputs[:1], constraint)
        begin = time.perf_counter()
        answers = self._generate(self._prompts(workload), outputs, constraint)
        seconds = time.perf_counter() - begin
        infos = [answer["meta_info"] for answer in answers]
        num_tokens = sum(info["completion_tokens"] for info in infos)
        num_forced = sum(info["forced_tokens"] for info in infos)
        name = workload.name
        return [
            Figure(name=name, value=len(infos) / seconds, unit="requests/s", is_more_better=True),
            Figure(name=f"{name}-tokens", value=num_tokens / len(infos), unit="tokens/request"),
            Figure(
                name=f"{name}-forced",
                value=num_forced / num_tokens,
                unit="of tokens",
                is_more_better=True,
            ),
        ]

    def _prefill(self, workload: Workload) -> list[Figure]:
        """Fresh prompts each time: milliseconds until all have what is asked for, and tokens a
        second."""
        runs = []
        for run in range(PREFILL_RUNS):
            prompts = self._prompts(workload, seed=run)
            if workload.measure == "encode":
                runs.append(self._time_vectors(prompts))
            else:
                runs.append(self._time(prompts, [job.num_output for job in workload.jobs]))
        name, best, is_rate = workload.name, min(runs), workload.is_rate
        took = Figure(
            name=f"{name}-ms" if is_rate else name,
            value=best * 1e3,
            unit="ms",
            is_headline=not is_rate,
            runs=runs,
        )
        rate = Figure(
            name=name if is_rate else f"{name}-rate",
            value=workload.num_prompt / best,
            unit="tokens/s",
            is_more_better=True,
            is_headline=is_rate,
        )
        return [took, rate]

    def _whole(self, workload: Workload) -> list[Figure]:
        outputs = [job.num_output for job in workload.jobs]
        seconds = self._time(self._prompts(workload), outputs)
        rates = {
            "requests": len(workload.jobs),
            "prompt tokens": workload.num_prompt,
            "output tokens": workload.num_output,
        }
        return [
            Figure(name=workload.name, value=seconds, unit="s", runs=[seconds]),
            *(
                Figure(
                    name=f"{workload.name}-{what.replace(' ', '-')}",
                    value=count / seconds,
                    unit=f"{what}/s",
                    is_more_better=True,
                    is_headline=workload.is_rate,
                )
                for what, count in rates.items()
            ),
        ]

    def _warm_up(self, workload: Workload) -> None:
        """Wakes the device's clocks, and what Python and the driver do lazily."""
        limit = min(self._info["context_length"], self._info["max_total_tokens"])
        num_prompt = min(WARM_UP_PROMPT, limit // 2)
        num_output = min(WARM_UP_OUTPUT, limit // 2)
        prompts = [[i] * num_prompt for i in range(WARM_UP_REQUESTS)]
        if workload.measure == "encode":
            self._time_vectors(prompts)
            return
        self._time(prompts, [num_output] * len(prompts))

    def _prompts(self, workload: Workload, seed: int = 0) -> list[list[int]]:
        return make_prompts(workload.jobs, self._info["vocab_size"], seed)

    def _time(
        self,
        prompts: Sequence[Sequence[int]],
        outputs: Sequence[int],
        constraint: Mapping[str, str] | None = None,
    ) -> float:
        """Seconds from handing in all requests at once to having all their tokens.

        Raises:
            BenchmarkFailed: a request gave fewer tokens than were asked for.
        """
        begin = time.perf_counter()
        answers = self._generate(prompts, outputs, constraint or {})
        seconds = time.perf_counter() - begin
        for count, answer in zip(outputs, answers, strict=True):
            if len(answer["output_ids"]) != count:
                raise BenchmarkFailed(
                    f"A request gave {len(answer['output_ids'])} tokens instead of {count}: "
                    f"{answer['meta_info']['finish_reason']}."
                )
        return seconds

    def _time_vectors(self, prompts: Sequence[Sequence[int]]) -> float:
        """Seconds from handing in all texts at once to having all their vectors."""
        begin = time.perf_counter()
        self._engine.encode(input_ids=prompts)
        return time.perf_counter() - begin

    def _generate(
        self,
        prompts: Sequence[Sequence[int]],
        outputs: Sequence[int],
        constraint: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        params = [
            SamplingParams.from_dict(
                {"temperature": 0.0, "max_new_tokens": count, "ignore_eos": True, **constraint}
            )
            for count in outputs
        ]
        return self._engine.generate(input_ids=prompts, sampling_params=params)
