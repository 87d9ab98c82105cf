"""Names of modalities, which files, modules of models and parts of scores share. Imports no torch."""

import re

from medley.errors import InputError

MODALITY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
PARTS_OF_SCORES = frozenset(  # parts() of models and kinds of similarity use them
    {"id", "history", "all", "interactions", "popularity", "cold", "behaviour"}
)
_MODULE_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile copy cpu cuda double
    dump_patches eval extra_repr float forward fromkeys get get_buffer get_extra_state get_parameter get_submodule half
    ipu items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
    pop popitem register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule setdefault share_memory state_dict to
    to_empty train training type update values xpu zero_grad
"""
MODULE_ATTRIBUTES = frozenset(_MODULE_ATTRIBUTES.split())  # not keys of torch.nn.ModuleDict and ParameterDict


def check_modality_name(name: str) -> str:
    """Returns the name of a modality if a file, a module of a model and a part of a score can have it.

    Raises:
        InputError: they cannot.
    """
    if not (isinstance(name, str) and MODALITY_NAME.fullmatch(name)):
        raise InputError(
            "name of a modality",
            expected="letters, digits, _ and -, beginning with a letter or a digit",
            got=repr(name),
            remedy="rename the modality, for example to visual",
        )
    if name in MODULE_ATTRIBUTES or name in PARTS_OF_SCORES:
        reason = "torch modules use it themselves" if name in MODULE_ATTRIBUTES else "parts of a score have it"
        raise InputError(
            "name of a modality",
            expected=f"a name that is not reserved: {reason}",
            got=repr(name),
            remedy=f"rename the modality, for example to {name}_features",
        )
    return name
