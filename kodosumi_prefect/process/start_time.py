"""Which variables matter when a process starts, and not only when somebody reads them."""

from collections.abc import Mapping

# By Python, the dynamic linker, the C library, and libraries that count processors as they load.
PREFIXES = (
    "PYTHON",
    "LD_",
    "LC_",
    "MALLOC_",
    "GLIBC_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "NUMEXPR_",
    "VECLIB_",
    "OPENSSL_",
    "PREFECT_TEST_",
)
NAMES = frozenset({"LANG", "LANGUAGE", "VIRTUAL_ENV"})


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process that runs already cannot be given any more."""
    return {
        name: value
        for name, value in environment.items()
        if name in NAMES or name.startswith(PREFIXES)
    }
