// The checksum of TFRecord files: CRC-32C (Castagnoli), plain and masked.
#pragma once

#include <cstdint>
#include <string_view>

namespace longlora::results {

/// CRC-32C: the polynomial 0x1EDC6F41, reflected, with an initial value and a final XOR of all ones (RFC
/// 3720, B.4). Its value for "123456789" is 0xE3069283.
uint32_t crc32c(std::string_view bytes);

/// The form in which TFRecord stores the checksum: rotate_right(crc, 15) + 0xA282EAD8 (mod 2^32). It stays
/// sound for data that itself holds checksums.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace longlora::results
