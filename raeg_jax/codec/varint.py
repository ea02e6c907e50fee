"""Numbers of any size in few bytes.

LEB128: seven bits a byte, the low ones first, the high bit where more follow.
"""


def write(value: int) -> bytes:
    """Writes a number that isn't negative."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


class Reader:
    """Reads one number after another; IndexError or ValueError at the end of the data.

    Attributes:
      data: all bytes.
      position: of the next one.
    """

    def __init__(self, data: bytes, position: int = 0):
        self.data, self.position = data, position

    def next(self) -> int:
        """Reads a number of 63 bits at most."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 63 bits")

    def take(self, count: int) -> bytes:
        """Reads so many bytes."""
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise ValueError(f"{len(self.data) - start} bytes in place of {count}")
        return self.data[start : self.position]

    def rest(self) -> bytes:
        """Reads all bytes that are left."""
        return self.take(len(self.data) - self.position)
