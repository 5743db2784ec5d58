"""What does a kernel's PTX say?  Read into one row of numbers for each instruction, and the registers that it names."""

import re
import struct
from typing import NamedTuple

import numpy as np

# What an instruction does.  The runner asks for them in this order, so the frequent ones come first.
OPERATIONS = tuple(
    "add and shl selp mov setp bra shr sub max min mul mad ld st or xor div rem neg abs not clz popc cvt wide bfi pack low "
    "high sqrt shfl redux vote bar warpsync atom fence ret".split()
)
KINDS = tuple("u8 s8 u16 s16 u32 s32 u64 s64 f32 f64 pred".split())
COMPARISONS = tuple("eq ne lt le gt ge nan num".split())
CODE = {name: number for number, name in enumerate(OPERATIONS)}
KIND = {name: number for number, name in enumerate(KINDS)} | {f"b{bits}": KINDS.index(f"u{bits}") for bits in (8, 16, 32, 64)}
OPERATION, TYPE, TARGET, FIRST, SECOND, THIRD, EXTRA, GUARD, LINE = range(9)
RELAXED = 16  # what is added to an access that says that other blocks may be there at the same time
SPECIAL = ("%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x", "%laneid", "%dynamic_smem_size")
OWN = re.compile(r"%(?:p|rs|r|rd|f|fd)\d+")


class Program(NamedTuple):
    """A kernel; registers start with the special ones, then come parameters, constants, and what the kernel computes."""

    rows: np.ndarray  # (instructions, 9)
    num_registers: int
    parameters: list  # the registers that hold them
    constants: dict  # the bits that are in a register from the start
    lines: list  # the text of each instruction


def read_program(ptx):
    """Read the one kernel of a PTX text."""
    return _Reader(ptx).program


class _Reader:
    def __init__(self, ptx):
        self.registers = {name: number for number, name in enumerate(SPECIAL)}
        self.constants, self.shared, self.labels, self.rows, self.lines = {}, {}, {}, [], []
        head, _, body = re.sub(r"//[^\n]*", "", ptx).partition("\n{\n")
        names = re.findall(r"\.param \.\w+ (\S+_param_\d+)", head)
        self.parameters = [self.register(name) for name in names]
        for name in re.findall(r"\.extern \.shared \.align \d+ \.b8 (\w+)\[\]", head):
            self.shared[name] = 0
        for line in body.splitlines():
            for statement in line.split(";"):
                self.statement(" ".join(statement.split()))
        for row in self.rows:
            if row[OPERATION] == CODE["bra"]:
                row[EXTRA] = self.labels[row[EXTRA]]
        self.program = Program(
            np.array(self.rows, np.int64),
            len(self.registers),
            self.parameters,
            self.constants,
            self.lines,
        )

    def statement(self, line):
        line = line.strip("{} ") if line.startswith(("{ ", "}")) else line
        if line.startswith(".reg") and "<" not in line:  # a name of its own, between braces
            self.registers.setdefault(line.split()[2], len(self.registers))
        if not line or line.startswith("."):
            return
        if line.endswith(":"):
            self.labels[line[:-1]] = len(self.rows)
            return
        guard = 0
        if line.startswith("@"):
            condition, line = line.split(" ", 1)
            guard = (self.register(condition.strip("@!")) + 1) * (-1 if "!" in condition else 1)
        name, _, rest = line.partition(" ")
        operands = [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,]+", rest) if part.strip()]
        self.instruction(name.split("."), operands, guard, line)

    def register(self, name):
        """Give the number of a register, a parameter or a constant."""
        if name not in self.registers:
            assert name[0] != "%" or OWN.fullmatch(name), f"not a register of this machine: {name}"
            self.registers[name] = len(self.registers)
            if name[0] not in "%_":
                self.constants[self.registers[name]] = _bits(name)
        return self.registers[name]

    def address(self, text):
        """Give the register and the offset of an address."""
        base, _, offset = text.strip("[]").partition("+")
        offset = int(offset or 0)
        if base in self.shared:
            return self.register("0"), offset + self.shared[base]
        return self.register(base), offset

    def add(self, operation, kind, target, operands, extra, guard, line):
        first, second, third = ([self.register(name) for name in operands] + [0, 0, 0])[:3]
        place = self.register(target) if target else 0
        self.rows.append([CODE[operation], KIND[kind], place, first, second, third, extra, guard, len(self.lines)])
        self.lines.append(line)

    def instruction(self, words, operands, guard, line):
        operation, kind = words[0], words[-1]
        if operation in ("ld", "st"):
            return self.access(words, operands, guard, line)
        if operation == "bra":
            return self.add("bra", "pred", None, [], operands[0], guard, line)
        if operation == "ret":
            return self.add("ret", "pred", None, [], 0, guard, line)
        if operation in ("bar", "barrier"):
            return self.add("warpsync" if "warp" in words else "bar", "pred", None, [], 0, guard, line)
        if operation in ("membar", "fence"):
            return self.add("fence", "pred", None, [], 0, guard, line)
        if operation == "mov" and operands[0].startswith("{"):
            parts = [part.strip() for part in operands[0].strip("{}").split(",")]
            for part, half in zip(parts, ("low", "high"), strict=True):
                self.add(half, kind, part, operands[1:], 0, guard, line)
            return None
        if operation == "mov" and operands[1].startswith("{"):
            parts = [part.strip() for part in operands[1].strip("{}").split(",")]
            return self.add("pack", kind, operands[0], parts, 0, guard, line)
        if operation == "mov" and operands[1] in self.shared:
            return self.add("mov", kind, operands[0], [str(self.shared[operands[1]])], 0, guard, line)
        if operation == "cvta":  # between generic addresses and those within shared memory
            extra = 0 if "shared" not in words else (-1 if "to" in words else 1)
            return self.add("mov", kind, operands[0], operands[1:], extra, guard, line)
        if operation == "setp":
            unordered = words[1].endswith("u") and words[1] not in ("num",)
            comparison = COMPARISONS.index(words[1].rstrip("u") if unordered else words[1])
            assert len(operands) == 3, line
            return self.add("setp", kind, operands[0], operands[1:], comparison + 8 * unordered, guard, line)
        if operation == "cvt":
            rounding = 1 if "rzi" in words else 0
            return self.add("cvt", words[-2], operands[0], operands[1:], KIND[kind] + 16 * rounding, guard, line)
        if operation == "mul" and "wide" in words:
            return self.add("wide", kind, operands[0], operands[1:], 0, guard, line)
        if operation == "shfl":
            how = ("bfly", "idx", "up").index(words[2])
            return self.add("shfl", kind, operands[0].split("|")[0], operands[1:3], how, guard, line)
        if operation == "redux":
            return self.add("redux", kind, operands[0], operands[1:2], ("min", "max", "add").index(words[2]), guard, line)
        if operation == "vote":
            assert words[2] == "ballot", line
            return self.add("vote", "u32", operands[0], operands[1:2], 0, guard, line)
        if operation == "atom":
            register, offset = self.address(operands[1])
            self.add("atom", kind, operands[0], operands[2:], offset, guard, line)
            self.rows[-1][SECOND] = register
            self.rows[-1][THIRD] = int("shared" in words) + 2 * ("min", "add", "or").index(words[-2])
            return None
        if operation == "bfi":
            self.add("bfi", kind, operands[0], operands[1:4], int(operands[4]), guard, line)
            return None
        if operation == "mad":
            assert words[1] == "lo", line
            assert kind[0] != "f", line
            return self.add("mad", kind, operands[0], operands[1:4], 0, guard, line)
        known = {
            "add",
            "sub",
            "and",
            "or",
            "xor",
            "not",
            "neg",
            "abs",
            "shl",
            "shr",
            "selp",
            "mov",
            "max",
            "min",
            "clz",
            "popc",
        }
        exact = operation in ("mul", "div", "rem", "sqrt") and not {"hi", "approx", "full", "ftz"} & set(words)
        assert operation in known or exact, f"not an instruction of this machine: {line}"
        return self.add(operation, kind, operands[0], operands[1:4], 0, guard, line)

    def access(self, words, operands, guard, line):
        """Read a load or a store; a parameter lies in a register from the start."""
        kind = words[-1]
        if "param" in words:
            return self.add("mov", kind, operands[0], [operands[1].strip("[]")], 0, guard, line)
        assert not {"local", "const"} & set(words), f"not an access of this machine: {line}"
        load = words[0] == "ld"
        several = next((int(word[1]) for word in words if word in ("v2", "v4")), 1)
        assert load or several == 1, f"not an access of this machine: {line}"
        register, offset = self.address(operands[1] if load else operands[0])
        targets = [part.strip() for part in operands[0].strip("{}").split(",")] if load else [None]
        for place, target in enumerate(targets):  # several at once are read one by one, from a place for all of them
            self.add(words[0], kind, target, [] if load else operands[1:], offset + place * int(kind[1:]) // 8, guard, line)
            self.rows[-1][SECOND] = register
            self.rows[-1][THIRD] = int("shared" in words) + 2 * (several if place == 0 else 1)
            self.rows[-1][THIRD] += RELAXED * int("relaxed" in words)
        return None


def _bits(text):
    """Give the bits of a constant: 0f and 0d are floats by their bits."""
    if text.startswith("0f"):
        return int(text[2:], 16)
    if text.startswith("0d"):
        return int(text[2:], 16)
    return struct.unpack("<Q", struct.pack("<q", int(text, 0)))[0] if int(text, 0) < 2**63 else int(text, 0)
