"""Settings come from the environment. Defaults are usable, and misspelt names are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.runtime.settings import CHECKPOINT_SECONDS, BadSetting, Settings, UnknownSetting
from tests.infrastructure.database.programs import ROOT, as_user


def test_without_settings_the_embedded_server_keeps_its_data_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.from_environment({"PATH": "/bin"})
    assert settings.database_url is None
    assert settings.data_dir.is_relative_to(tmp_path)
    assert not settings.data_dir.exists(), "reading settings makes no folder"


def test_settings_are_taken_from_their_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment(
        {"SHIPLOCK_DATABASE_URL": "postgresql://db/shop", "SHIPLOCK_DATA_DIR": "data", "SHIPLOCK_TEST_X": "1"}
    )
    assert settings == Settings(database_url="postgresql://db/shop", data_dir=tmp_path / "data")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/shop")
    assert Settings.from_environment({"SHIPLOCK_DATA_DIR": "~/log"}).data_dir == Path("/home/shop/log")


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"SHIPLOCK_DATABASE_URL": "", "SHIPLOCK_DATA_DIR": ""}) == (
        Settings.from_environment({})
    )


def test_keys_and_checkpoints_have_folders_of_their_own() -> None:
    environment = {
        "SHIPLOCK_KEY_DIR": "/keys",
        "SHIPLOCK_CHECKPOINT_DIR": "/checkpoints",
        "SHIPLOCK_CHECKPOINT_SECONDS": "0",
    }
    settings = Settings.from_environment(environment)
    assert (settings.key_dir, settings.checkpoint_dir) == (Path("/keys"), Path("/checkpoints"))
    assert settings.checkpoint_seconds == 0
    assert Settings.from_environment({}).checkpoint_seconds == CHECKPOINT_SECONDS


@pytest.mark.parametrize("seconds", ["-1", "soon", "1.5", "9" * 9])
def test_a_checkpoint_interval_that_is_no_number_of_seconds_is_refused(seconds: str) -> None:
    with pytest.raises(BadSetting, match="SHIPLOCK_CHECKPOINT_SECONDS"):
        Settings.from_environment({"SHIPLOCK_CHECKPOINT_SECONDS": seconds})


def test_a_misspelt_setting_is_refused_with_a_list_of_all_settings() -> None:
    with pytest.raises(UnknownSetting, match=r"SHIPLOCK_DATABSE_URL.*SHIPLOCK_DATABASE_URL.*SHIPLOCK_DATA_DIR"):
        Settings.from_environment({"SHIPLOCK_DATABSE_URL": "postgresql://db/shop"})


def test_the_variables_that_kubernetes_sets_for_a_service_are_ignored() -> None:
    environment = {
        "SHIPLOCK_SERVICE_HOST": "10.0.0.1",
        "SHIPLOCK_PORT": "tcp://10.0.0.1:8000",
        "SHIPLOCK_PORT_8000_TCP": "x",
    }
    assert Settings.from_environment(environment) == Settings.from_environment({})


@pytest.mark.parametrize("home", [None, ""])
def test_an_account_without_a_home_still_gets_a_data_folder(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    folder = Settings.from_environment({}).data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    assert folder.is_absolute()
    assert os.access(existing, os.W_OK)


def test_an_account_that_can_not_write_to_its_home_uses_the_working_folder(tmp_path: Path) -> None:
    prefix = as_user(12345) if os.geteuid() == 0 else ()
    program = "from infrastructure.runtime.settings import Settings; print(Settings.from_environment({}).data_dir)"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program],
        env={"HOME": "/", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / ".shiplock")
