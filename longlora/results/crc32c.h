// The checksum of TFRecord files: CRC-32C (Castagnoli), plain and masked.
#pragma once

#include <cstdint>
#include <string_view>

namespace longlora::results {

/// CRC-32C: polynomial 0x1EDC6F41, reflected, initial value and final XOR all ones
/// (RFC 3720, B.4). Of "123456789" it is 0xE3069283.
uint32_t crc32c(std::string_view bytes);

/// The form that TFRecord stores, so that a checksum of data that itself holds
/// checksums stays sound: rotate_right(crc, 15) + 0xA282EAD8 (mod 2^32).
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace longlora::results
