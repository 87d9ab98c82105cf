"""From a sound to what an encoder reads: log-mel spectra in windows. Only numpy and scipy, for worker processes."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.fft import dct

BLOCK = 1024  # frames that are transformed at a time, which bounds the memory
MFCC = 20  # cepstral coefficients of `Statistics`: the usual number for music
DELTA_SPAN = 2  # frames on each side that a delta is fitted to; 2 is the usual regression of 5 points


@dataclass(frozen=True)
class LogMel:
    """The logarithm of a spectrum in mel bands.

    Attributes:
        rate: Hz of the sound.
        window: samples per frame.
        hop: samples from one frame to the next.
        fft: length of the Fourier transform; frames are padded with zeros.
        bands: number of mel bands.
        low: Hz, lower edge of the first band.
        high: Hz, upper edge of the last band.
        power: exponent of the magnitude: 2 for energies, 1 for magnitudes.
        scale: mel scale: htk (2595 log10(1 + f / 700), also Kaldi's up to a factor) or slaney.
        in_mel: whether the triangles of the bands are straight over mel instead of over Hz.
        equal_area: whether each band is divided by its width in Hz (Slaney's normalisation).
        floor: smallest value before the logarithm.
        offset: what is added before the logarithm.
        decibels: 10 log10 instead of the natural logarithm.
        centred: whether frame t is centred on sample t * hop; the ends of the sound are mirrored.
        periodic: whether the Hann window has the period of the frame (else it is symmetric).
        preemphasis: share of the previous sample that is subtracted.
        remove_mean: whether each frame is freed of its mean first.
    """

    rate: int
    window: int
    hop: int
    fft: int
    bands: int
    low: float
    high: float
    power: int = 2
    scale: str = "htk"
    in_mel: bool = False
    equal_area: bool = False
    floor: float = 1e-10
    offset: float = 0.0
    decibels: bool = False
    centred: bool = False
    periodic: bool = True
    preemphasis: float = 0.0
    remove_mean: bool = False

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Returns (frames, bands) float32 of (n,) samples; a sound shorter than a frame is padded with zeros."""
        if self.centred:
            sound = np.pad(sound, self.window // 2, mode="reflect")
        if len(sound) < self.window:
            sound = np.pad(sound, (0, self.window - len(sound)))
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.window)[:: self.hop]
        blocks = [self._block(frames[first : first + BLOCK]) for first in range(0, len(frames), BLOCK)]
        return np.concatenate(blocks)

    def _block(self, frames: np.ndarray) -> np.ndarray:
        x = frames.astype(np.float64)
        if self.remove_mean:
            x -= x.mean(axis=1, keepdims=True)
        if self.preemphasis:
            previous = np.concatenate([x[:, :1], x[:, :-1]], axis=1)  # the first sample is its own predecessor
            x -= self.preemphasis * previous
        spectrum = np.abs(np.fft.rfft(x * hann(self.window, periodic=self.periodic), n=self.fft)) ** self.power
        bands = spectrum @ mel_bands(
            self.rate, self.fft, self.bands, self.low, self.high, self.scale, self.in_mel, self.equal_area
        )
        bands = np.maximum(bands, self.floor) + self.offset
        return (10 * np.log10(bands) if self.decibels else np.log(bands)).astype(np.float32)


@dataclass(frozen=True)
class Statistics:
    """What a sound is like in each window: statistics over the frames of log-mel bands and of cepstral coefficients.

    Each of the bands and of the first 20 MFCC (the orthonormal cosine transform of the bands) gives its mean, its
    deviation, and the mean size of its delta (the slope over 5 frames, per frame): how bright, how varied, how fast.

    Attributes:
        spectrum: the front end.
        window: seconds per window.
        most: windows per sound; longer sounds are sampled at equal distances.
    """

    spectrum: LogMel
    window: float
    most: int

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Returns (p, 3 * (bands + 20)) float32, one row per window."""
        parts = windows(sound, round(self.window * self.spectrum.rate), self.most)
        return np.stack([self._describe(self.spectrum(part)) for part in parts])

    def _describe(self, bands: np.ndarray) -> np.ndarray:
        x = np.concatenate([bands, dct(bands, norm="ortho")[:, :MFCC]], axis=1).astype(np.float64)  # (frames, columns)
        return np.concatenate([x.mean(axis=0), x.std(axis=0), np.abs(deltas(x)).mean(axis=0)]).astype(np.float32)


@dataclass(frozen=True)
class Examples:
    """VGGish's examples: 96 frames of 64 bands, one after the other; what does not fill the last one is left out.

    Attributes:
        spectrum: the front end.
        frames: frames per example.
        most: examples per sound; of longer sounds, examples at equal distances are taken.
    """

    spectrum: LogMel
    frames: int
    most: int

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Returns (p, frames, bands) float32; a sound shorter than one example is padded with zeros."""
        needed = self.spectrum.window + (self.frames - 1) * self.spectrum.hop
        if len(sound) < needed:
            sound = np.pad(sound, (0, needed - len(sound)))
        bands = self.spectrum(sound)
        number = len(bands) // self.frames
        examples = bands[: number * self.frames].reshape(number, self.frames, -1)
        return examples[evenly(number, self.most)]


@dataclass(frozen=True)
class FilterBanks:
    """The input of AST: windows of Kaldi's filter banks, normalised; shorter sounds are padded with zero bands.

    Attributes:
        spectrum: the front end.
        frames: frames per window.
        most: windows per sound.
        mean: mean of the bands in the training data.
        deviation: twice their deviation, by which AST divides; 1 with mean 0 for none.
    """

    spectrum: LogMel
    frames: int
    most: int
    mean: float
    deviation: float

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Returns (p, frames, bands) float32."""
        length = self.spectrum.window + (self.frames - 1) * self.spectrum.hop
        bands = [self.spectrum(part)[: self.frames] for part in windows(sound, length, self.most)]
        padded = np.stack([np.pad(each, ((0, self.frames - len(each)), (0, 0))) for each in bands])
        return (padded - np.float32(self.mean)) / np.float32(self.deviation)


@dataclass(frozen=True)
class RepeatedMel:
    """The input of CLAP: windows of log-mel spectra; shorter sounds are repeated, then padded with zeros.

    Attributes:
        spectrum: the front end.
        length: samples per window.
        most: windows per sound.
        copies: 4 for networks that fuse views of long sounds: a window is as long as they listen, so all views are
            equal; 1 for the others.
        repeat: whether short sounds are repeated.
    """

    spectrum: LogMel
    length: int
    most: int
    copies: int
    repeat: bool

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Returns (p, copies, frames, bands) float32."""
        if len(sound) < self.length:
            sound = np.tile(sound, self.length // len(sound)) if self.repeat else sound
            sound = np.pad(sound, (0, self.length - len(sound)))
        mel = np.stack([self.spectrum(part) for part in windows(sound, self.length, self.most)])
        return np.repeat(mel[:, None], self.copies, axis=1)


def windows(sound: np.ndarray, length: int, most: int) -> list[np.ndarray]:
    """Divides a sound into windows of `length` samples, from its start to its end.

    The windows have equal distances: the last ones overlap a little where the sound is not a multiple of the length, so
    that no window is padded. A sound shorter than `length` is one window; of one longer than `most` windows, `most`
    are taken, with gaps.
    """
    if len(sound) <= length:
        return [sound]
    number = min(most, -(-len(sound) // length))
    starts = np.linspace(0, len(sound) - length, number).round().astype(int) if number > 1 else [0]
    return [sound[start : start + length] for start in starts]


def evenly(number: int, most: int) -> np.ndarray:
    """Returns the positions of at most `most` of `number` things, at equal distances, first and last among them."""
    return np.linspace(0, number - 1, min(number, most)).round().astype(int)


def deltas(x: np.ndarray) -> np.ndarray:
    """Returns (t, d): the slope of each column per row, by least squares over 5 rows; the ends are repeated."""
    padded = np.pad(x, ((DELTA_SPAN, DELTA_SPAN), (0, 0)), mode="edge")
    steps = range(1, DELTA_SPAN + 1)
    middle = slice(DELTA_SPAN, DELTA_SPAN + len(x))
    rise = [n * (np.roll(padded, -n, axis=0)[middle] - np.roll(padded, n, axis=0)[middle]) for n in steps]
    return np.sum(rise, axis=0) / (2 * sum(n * n for n in steps))


@cache
def hann(length: int, *, periodic: bool) -> np.ndarray:
    """Returns the Hann window, (length,) float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length if periodic else length - 1))


@cache
def mel_bands(
    rate: int, fft: int, bands: int, low: float, high: float, scale: str, in_mel: bool, equal_area: bool
) -> np.ndarray:
    """Returns the weights of overlapping triangles, (fft // 2 + 1, bands) float64. See `LogMel` for the arguments."""
    edges_mel = np.linspace(to_mel(low, scale), to_mel(high, scale), bands + 2)
    edges = to_hertz(edges_mel, scale)
    frequency = np.arange(fft // 2 + 1) * (rate / fft)
    x, corner = (to_mel(frequency, scale), edges_mel) if in_mel else (frequency, edges)
    rising = (x[:, None] - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - x[:, None]) / (corner[2:] - corner[1:-1])
    weights = np.minimum(rising, falling).clip(0)
    return weights * (2 / (edges[2:] - edges[:-2])) if equal_area else weights


def to_mel(hertz: float | np.ndarray, scale: str) -> np.ndarray:
    """Converts Hz to mel. Slaney's scale is linear below 1,000 Hz and logarithmic above."""
    hertz = np.asarray(hertz, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) * (27 / np.log(6.4))
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def to_hertz(mel: np.ndarray, scale: str) -> np.ndarray:
    """Converts mel to Hz; the inverse of `to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * (np.log(6.4) / 27)))
