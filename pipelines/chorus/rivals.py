"""The other contestants, with the settings that the benchmark's own classes use."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Waveforms = dict[str, dict[str, Any]]
Signals = dict[str, npt.NDArray[Any]]


class Contestant(ABC):
    """A format that opens anew for every read; what it opens is its path."""

    @abstractmethod
    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write everything."""

    @abstractmethod
    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Read signals by seconds."""

    def open_waveforms(self, path: str, signal_names: list[str], **kwargs: Any) -> Any:
        """Open for several reads."""
        return path

    def read_opened_waveforms(
        self, opened: Any, start_time: float, end_time: float, signal_names: list[str]
    ) -> Signals:
        """Read from what was opened."""
        return self.read_waveforms(opened, start_time, end_time, signal_names)

    def close_waveforms(self, opened: Any) -> None:  # noqa: B027 (most hold nothing)
        """Close."""


def whole(waveform: dict[str, Any], length: int) -> npt.NDArray[np.float32]:
    """Lay a signal's chunks out; NaN between them."""
    out = np.full(length, np.nan, np.float32)
    for chunk in waveform["chunks"]:
        out[chunk["start_sample"] : chunk["end_sample"]] = chunk["samples"]
    return out


class Flac(Contestant):
    """WFDB record of FLAC files (format 516), read through ``wfdb``; opened once, through ``soundfile``."""

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write one record, a signal file per rate."""
        import wfdb

        seconds = max(w["chunks"][-1]["end_time"] for w in waveforms.values())
        rates = [w["samples_per_second"] for w in waveforms.values()]
        base = min(rates)
        signals, baselines, gains = [], [], []
        for waveform in waveforms.values():
            samples = whole(waveform, round(seconds * waveform["samples_per_second"]))
            gain = max(c["gain"] for c in waveform["chunks"])
            low, high = np.fmin.reduce(samples), np.fmax.reduce(samples)
            baselines.append(0 if np.isnan(low) else round(-gain * (low + high) / 2))
            gains.append(gain)
            signals.append(samples)
        record = wfdb.Record(
            record_name=os.path.basename(path), n_sig=len(rates), fmt=["516"] * len(rates), fs=base,
            samps_per_frame=[round(r / base) for r in rates], sig_name=list(waveforms),
            units=[w["units"] for w in waveforms.values()], adc_gain=gains, baseline=baselines, e_p_signal=signals,
        )  # fmt: skip
        record.e_d_signal = record.adc(expanded=True)
        record.set_d_features(expanded=True)
        record.set_defaults()
        record.wrsamp(write_dir=os.path.dirname(path), expanded=True)

    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Read the header, then the frames."""
        import wfdb

        rate = wfdb.rdheader(path).fs
        read = wfdb.rdrecord(
            path, sampfrom=round(start_time * rate), sampto=round(end_time * rate), channel_names=signal_names,
            smooth_frames=False, return_res=32,
        )  # fmt: skip
        return dict(zip(read.sig_name, read.e_p_signal, strict=True))

    def open_waveforms(self, path: str, signal_names: list[str], **kwargs: Any) -> Any:
        """Open the signal files."""
        import soundfile
        import wfdb

        header = wfdb.rdheader(path)
        files: dict[str, tuple[Any, int, list[int]]] = {}
        for name in dict.fromkeys(header.file_name[header.sig_name.index(n)] for n in signal_names):
            own = [i for i, f in enumerate(header.file_name) if f == name]
            file = soundfile.SoundFile(Path(path).parent / name)
            files[name] = (file, header.samps_per_frame[own[0]], own)
        return header, files

    def read_opened_waveforms(
        self, opened: Any, start_time: float, end_time: float, signal_names: list[str]
    ) -> Signals:
        """Read the frames of every file that holds a signal asked for."""
        header, files = opened
        first, stop = round(start_time * header.fs), round(end_time * header.fs)
        out = {}
        for file, per_frame, own in files.values():
            wanted = [(k, i) for k, i in enumerate(own) if header.sig_name[i] in signal_names]
            if not wanted:
                continue
            file.seek(first * per_frame)
            data = file.read((stop - first) * per_frame, dtype="int16", always_2d=True)
            for k, i in wanted:
                values = data[:, k] - np.float32(header.baseline[i])
                values *= np.float32(1 / header.adc_gain[i])
                values[data[:, k] == -32768] = np.nan
                out[header.sig_name[i]] = values
        return out

    def close_waveforms(self, opened: Any) -> None:
        """Close the files."""
        for file, _, _ in opened[1].values():
            file.close()


_SDK: dict[str, Any] = {}


class AtriumDB(Contestant):
    """AtriumDB, blocks of 16384 values, one thread; its object stays open from the write on, as in the benchmark."""

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write a SQLite data set, run by run without NaN."""
        from atriumdb import AtriumSDK

        AtriumSDK.create_dataset(dataset_location=path)
        sdk = _SDK[path] = AtriumSDK(dataset_location=path, num_threads=1)
        sdk.block.block_size = 16384
        device = sdk.insert_device(device_tag="chorus")
        sdk.get_device_info(device)
        for name, waveform in waveforms.items():
            rate = waveform["samples_per_second"]
            gain = max(c["gain"] for c in waveform["chunks"])
            with sdk.write_buffer():
                measure = sdk.insert_measure(measure_tag=name, freq=rate, freq_units="Hz")
                for chunk in waveform["chunks"]:
                    held = np.concatenate([[False], ~np.isnan(chunk["samples"]), [False]])
                    edges = np.flatnonzero(held[1:] != held[:-1])
                    for a, b in zip(edges[::2], edges[1::2], strict=True):
                        digital = np.round(chunk["samples"][a:b] * gain).astype(np.int64)
                        sdk.write_segment(
                            measure, device, digital, chunk["start_time"] + a / rate, freq=rate, freq_units="Hz",
                            time_units="s", scale_m=1 / gain, scale_b=0.0,
                        )  # fmt: skip

    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Read arrays filled with NaN."""
        sdk = _SDK[path]
        device = sdk.get_device_id("chorus")
        if not sdk.block_cache:
            sdk.load_device(device)
        measures = {m["tag"]: m["id"] for m in sdk._measures.values()}
        first, stop = int(start_time * 10**9), int(end_time * 10**9)
        return {
            name: sdk.get_data(measures[name], first, stop, device_id=device, return_nan_filled=True)[1]
            for name in signal_names
        }


class Zarr(Contestant):
    """Zarr v3 arrays of float32 in zarr's own chunks, Blosc zstd 5 without shuffle, which is smallest here."""

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write an array a signal."""
        import zarr
        from zarr.codecs import BloscCodec, BloscShuffle

        group = zarr.open_group(path, mode="w")
        for name, waveform in waveforms.items():
            samples = whole(waveform, waveform["chunks"][-1]["end_sample"])
            array = group.create_array(
                name, data=samples, compressors=BloscCodec(cname="zstd", clevel=5, shuffle=BloscShuffle.noshuffle)
            )
            array.attrs["samples_per_second"] = waveform["samples_per_second"]

    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Open the group and read slices."""
        import zarr

        return self.read_opened_waveforms(zarr.open_group(path, mode="r"), start_time, end_time, signal_names)

    def open_waveforms(self, path: str, signal_names: list[str], **kwargs: Any) -> Any:
        """Open the group."""
        import zarr

        return zarr.open_group(path, mode="r")

    def read_opened_waveforms(
        self, opened: Any, start_time: float, end_time: float, signal_names: list[str]
    ) -> Signals:
        """Read slices."""
        out = {}
        for name in signal_names:
            array = opened[name]
            rate = array.attrs["samples_per_second"]
            out[name] = array[round(start_time * rate) : round(end_time * rate)]
        return out


class Hdf5(Contestant):
    """HDF5 of 16-bit integers, shuffle and gzip 6 (CCDEF)."""

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write a data set a signal."""
        import h5py

        with h5py.File(f"{path}.hdf5", "w") as file:
            for name, waveform in waveforms.items():
                gain = waveform["chunks"][0]["gain"]
                samples = whole(waveform, waveform["chunks"][-1]["end_sample"])
                digital = np.where(np.isnan(samples), -32768, np.round(samples * gain)).astype(np.int16)
                data = file.create_dataset(name, data=digital, compression="gzip", compression_opts=6, shuffle=True)
                data.attrs.update(samples_per_second=waveform["samples_per_second"], gain=gain)

    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Open the file and read slices."""
        opened = self.open_waveforms(path, signal_names)
        with opened:
            return self.read_opened_waveforms(opened, start_time, end_time, signal_names)

    def open_waveforms(self, path: str, signal_names: list[str], **kwargs: Any) -> Any:
        """Open the file."""
        import h5py

        return h5py.File(f"{path}.hdf5", "r")

    def read_opened_waveforms(
        self, opened: Any, start_time: float, end_time: float, signal_names: list[str]
    ) -> Signals:
        """Read slices."""
        out = {}
        for name in signal_names:
            data = opened[name]
            rate = data.attrs["samples_per_second"]
            digital = data[round(start_time * rate) : round(end_time * rate)]
            out[name] = digital * 1.0 / data.attrs["gain"]
            out[name][digital == -32768] = np.nan
        return out

    def close_waveforms(self, opened: Any) -> None:
        """Close the file."""
        opened.close()


_ROW_GROUP_S = 500


class Parquet(Contestant):
    """A Parquet file of float32 per signal, gzip, row groups of 500 s."""

    def write_waveforms(self, path: str, waveforms: Waveforms) -> None:
        """Write a file a signal."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name, waveform in waveforms.items():
            rate = waveform["samples_per_second"]
            table = pa.table({name: whole(waveform, waveform["chunks"][-1]["end_sample"])})
            table = table.replace_schema_metadata({b"samples_per_second": str(rate).encode()})
            pq.write_table(
                table, f"{path}_{name}.parquet", row_group_size=round(rate * _ROW_GROUP_S), compression="gzip"
            )

    def read_waveforms(self, path: str, start_time: float, end_time: float, signal_names: list[str]) -> Signals:
        """Read the row groups that hold the stretch."""
        return self.read_opened_waveforms(self.open_waveforms(path, signal_names), start_time, end_time, signal_names)

    def open_waveforms(self, path: str, signal_names: list[str], **kwargs: Any) -> Any:
        """Open the files."""
        import pyarrow.parquet as pq

        return {name: pq.ParquetFile(f"{path}_{name}.parquet") for name in signal_names}

    def read_opened_waveforms(
        self, opened: Any, start_time: float, end_time: float, signal_names: list[str]
    ) -> Signals:
        """Read the row groups that hold the stretch."""
        out = {}
        for name in signal_names:
            file = opened[name]
            rate = float(file.metadata.metadata[b"samples_per_second"])
            size = round(rate * _ROW_GROUP_S)
            first, stop = round(start_time * rate), round(end_time * rate)
            groups = range(first // size, min(-(-stop // size), file.num_row_groups))
            samples = file.read_row_groups(list(groups)).column(0).to_numpy()
            out[name] = samples[first - groups.start * size : stop - groups.start * size]
        return out
