"""From one medium to an array, under limits: `decode_image`, `decode_frames`, `decode_sound`.

The content decides the format, never the name of the file. A medium is decoded whole, as far as the limits say, or it
is refused with a `MediaError`; partial results are never returned.
"""

from medley.media.images import decode_image
from medley.media.limits import Limits, MediaError, NoSoundTrack, Source
from medley.media.sound import decode_sound
from medley.media.video import decode_frames

__all__ = ["Limits", "MediaError", "NoSoundTrack", "Source", "decode_frames", "decode_image", "decode_sound"]
