"""What streams take of a device, and limits: what does not fit is refused in a sentence, before it is tried."""

import json

import pytest
from typer.testing import CliRunner

import darius
from darius import memory
from darius.codec.config import CodecConfig
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import DecodePlan
from darius.errors import InvalidOption, OutOfMemory
from darius_cli.main import app
from serve.loading import most
from serve.settings import Settings

GPU = DecodePlan.for_platform("gpu")
SIZES = (1, 16, 64, 128, 256)


def taken(streams: int) -> memory.Account:
    return memory.account(DepthformerConfig.large(), CodecConfig.spectrostream(), streams, GPU)


def test_one_stream_of_large_and_its_codec_stay_under_four_gigabytes() -> None:
    assert taken(1).total < 4 * 2**30


def test_more_streams_take_more_and_the_weights_once() -> None:
    accounts = [taken(streams) for streams in SIZES]
    assert {account.weights for account in accounts} == {accounts[0].weights}
    totals = [account.total for account in accounts]
    assert totals == sorted(totals)


@pytest.mark.parametrize(
    "text, expected", [("6G", 6 << 30), ("6 GiB", 6 << 30), ("1.5g", 3 << 29), ("800MB", 800 << 20), ("4096", 4096)]
)
def test_a_limit_is_read_as_people_write_it(text: str, expected: int) -> None:
    assert memory.read_limit(text) == expected


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "nan", "inf", "G"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        memory.read_limit(text)


def test_batches_that_do_not_fit_are_left_out() -> None:
    limit = taken(64).total
    fit = memory.fitting(DepthformerConfig.large(), CodecConfig.spectrostream(), GPU, limit, SIZES)
    assert 64 in fit and 256 not in fit


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_made() -> None:
    with pytest.raises(OutOfMemory, match=r"more than the limit of 1\.0 GiB"):
        darius.load("random:large", device="cpu", memory_limit=2**30)


def test_the_commands_refuse_with_a_sentence_and_name_the_way_out() -> None:
    refused = CliRunner().invoke(app, ["bench", "--memory-limit", "100M"])
    assert refused.exit_code == 4 and "more than the limit of 0.1 GiB" in refused.output
    assert "--memory-limit" in refused.output


def test_a_benchmark_within_its_limit_runs() -> None:
    ran = CliRunner().invoke(app, ["bench", "--random", "--chunks", "1", "--memory-limit", "4G", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output.splitlines()[-1])["results"][0]["chunks"] == 1


class Sizes:
    """What `most` asks a conductor for."""

    def sizes(self, most: int | None) -> list[int]:
        return list(SIZES)


def test_a_server_makes_no_larger_batches_than_fit() -> None:
    model = darius.load("random:tiny", device="cpu")
    sixteen = memory.of_engine(model, 16)
    assert sixteen is not None
    sizes: object = Sizes()
    assert most(model, sizes, Settings(memory_limit=str(sixteen.total))) == 16  # type: ignore[arg-type]
    assert most(model, sizes, Settings(memory_limit=str(sixteen.total), max_sessions=4)) == 4  # type: ignore[arg-type]
    assert most(model, sizes, Settings(max_sessions=4)) == 4  # type: ignore[arg-type]
    assert most(model, sizes, Settings()) is None  # type: ignore[arg-type]
