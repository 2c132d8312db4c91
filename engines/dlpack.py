"""Memory handed to other libraries without a copy: DLPack 0.8 (dmlc/dlpack, `dlpack.h`) and its Python protocol."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

CPU, CUDA = 1, 2
_FLOAT = 2
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    """DLTensor, its device and data type written out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Holder:
    """Everything that must live as long as somebody uses the memory; DLPack's manager context."""

    __slots__ = ("managed", "owner", "shape")

    def __init__(self, array: DeviceArray) -> None:
        self.owner = array.owner
        self.shape = (ctypes.c_int64 * len(array.shape))(*array.shape)
        self.managed = _Managed()
        tensor = self.managed.tensor
        tensor.data = array.address
        tensor.device_type, tensor.device_id = array.device
        tensor.ndim = len(array.shape)
        tensor.code, tensor.bits, tensor.lanes = _FLOAT, 32, 1
        tensor.shape = ctypes.cast(self.shape, ctypes.POINTER(ctypes.c_int64))
        self.managed.context = id(self)
        self.managed.deleter = ctypes.cast(_delete, ctypes.c_void_p).value


_python = ctypes.pythonapi
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_python.PyCapsule_IsValid.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_python.Py_IncRef.argtypes = (ctypes.py_object,)
_python.Py_DecRef.argtypes = (ctypes.c_void_p,)


def _give_back(managed: int) -> None:
    """Called by who took the memory, once done with it."""
    _python.Py_DecRef(_Managed.from_address(managed).context)


def _discard(capsule: int) -> None:
    """Called when a capsule goes; one that was taken has another name by then."""
    if _python.PyCapsule_IsValid(capsule, _NAME):
        _give_back(_python.PyCapsule_GetPointer(capsule, _NAME))


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_delete, _unclaimed = _Callback(_give_back), _Callback(_discard)


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """float32 memory, rows one after the other, that `torch.from_dlpack`, `cupy.from_dlpack` and others take as it is.

    address: on the device; device: (DLPack's type, number), (2, 0) for the first GPU. owner: keeps the memory alive.
    What was written to it is complete: no stream has to wait.
    """

    address: int
    shape: tuple[int, ...]
    device: tuple[int, int]
    owner: object

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or dl_device not in (None, self.device):
            raise BufferError("this memory is given as it is: copy it with the library that takes it")
        holder = _Holder(self)
        # Undone by `_delete`.
        _python.Py_IncRef(holder)
        return _python.PyCapsule_New(ctypes.addressof(holder.managed), _NAME, _unclaimed)


@runtime_checkable
class OnDevice(Protocol):
    """A cache whose maps are computed on a device."""

    @property
    def device_depth(self) -> DeviceArray:
        """The map of the last step, float32 [B, *spec.map_size], valid until the next one."""
        ...
