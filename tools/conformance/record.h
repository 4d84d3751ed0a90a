// The digests of the corpus, as heed-bits --record prints them.
#pragma once

#include <cstdint>

namespace heed::bits {

inline constexpr int32_t kRecordedVersion = 1;

struct Recorded {
  const char* group;
  uint64_t fma, multiply_add;
};

inline constexpr Recorded kRecord[] = {
    {"matmul", 0xB90D397EAA4FB988, 0xE2CF03563B0DA5F8},
    {"matmul, any strides", 0x930DD5104EC51B79, 0x05711DA350FDE10F},
    {"matmul, packed", 0x3070B31CB1A41DD5, 0x8A428926789A07C7},
    {"matmul, packed f16 and bf16", 0xB730DCC8C23AB07E, 0xC2867E52EB6BE149},
    {"matmul, larger", 0xA4D6244D4BB5B1CB, 0x22A68E1FB5D87E34},
    {"convert", 0xB8927797CAA33B40, 0xB8927797CAA33B40},
    {"softmax", 0xCF6974347BEFADDA, 0x775D5B43D8B170E2},
    {"exp", 0xB873686F4C772076, 0x7DDDE5BB54302814},
    {"tanh", 0xCB0F3E3CA1154B58, 0xC05730206EE6B3FD},
    {"rope, half", 0xBEA565E6628F92CC, 0xF49594767FA8A4F2},
    {"rope, interleaved", 0x3FB54C3BAB3C0546, 0x95325393AF088164},
    {"rope, scaled", 0xE15074BE2145E958, 0x74F242734C1B0F1F},
    {"attention, head_dim 1 to 256", 0xE2D8F8591D10A620, 0xEFD283C2BD3EA28C},
    {"attention, grouped heads", 0x9BE599AE9C445671, 0x50CCE37FBBC32639},
    {"attention, any strides", 0xCCF5D624BBB5BA5A, 0x5E964BC31613F2CA},
    {"attention, causal", 0xEFB8BFBC136921B9, 0xD7E429D8D3D7B98E},
    {"attention, window", 0x6DA01F52AAB714D4, 0x985D7596B47025AC},
    {"attention, prefix_lens", 0x3BB05DA8F9CA3AD1, 0xE6DE407B614BCC08},
    {"attention, kv_lens", 0x0A995437E2E8DF56, 0x9E7DDFBAD4A9C096},
    {"attention, key_mask", 0xED486C82493957CB, 0x1922E949444917FE},
    {"attention, boolean mask", 0x9178A477C8F0CE54, 0x657C690694941A85},
    {"attention, additive mask", 0x3629A939A50CE216, 0xFBFFEE7091D70DDC},
    {"attention, tree_mask", 0x2785451A94A6B3C4, 0x57A6928F62F36D67},
    {"attention, scale and soft cap", 0x483439939AF50D11, 0xA393F0BD057B7393},
    {"attention, ALiBi", 0xEEC0F9F3D913C87D, 0x19453101551730A8},
    {"attention, sinks", 0x0B66F1D6279F4E3D, 0x72DD7C022A8FAB82},
    {"attention, dropout", 0x8264A365FD76958E, 0xC2D154E2F22C0D45},
    {"attention, weights and key_scores", 0x18A3D4AEF627CEAC, 0x123CE32C2B7DFD9C},
    {"attention, log-sum-exp", 0x840BF6A36AF86948, 0x6AE5973B40B7641D},
    {"attention, rows that see nothing", 0x208CE188E8839005, 0xA6E1B6FD6DA0EE53},
    {"attention, identical keys", 0xDFCB3BFD4801224E, 0x96A31C98BDBF06DE},
    {"attention, large logits", 0xAFB4A607843DF056, 0x8C98F693EBDA2B1E},
    {"attention, packed batch", 0x0525A65D2A8C0B6D, 0x1B7A81EB0C7E358A},
    {"attention, paged", 0xED71C05A988242E1, 0xCCF75A2204A7EA45},
    {"attention, cache in chunks", 0x71102B58DAD2F73F, 0xE300E0D993999A73},
    {"attention, ring cache", 0xA5085BEBD3510CC4, 0xEFE71841828202F1},
    {"attention, long keys", 0x8DEED56399B5FBE9, 0x87AF07C76A34D6BA},
    {"attention, parts merged", 0xFF18F97F0E11FFDB, 0xC5E046D4998AD282},
    {"attention, results merged", 0x88F33AAACB9FC83E, 0x0936A523FE98B792},
    {"attention, options mixed", 0x541D6F20A455F78D, 0x12EC7E7DD5610023},
    {"layer", 0x6C37C67955316356, 0x9DE6011606F1DBFE},
    {"layer, norms", 0x043957994D57D4A6, 0x15F0376081169946},
    {"layer, rope", 0x7401E479E5E36030, 0xC4CB5766DC1922AE},
    {"layer, options mixed", 0xA3DD57414038D379, 0x5183C14AC8F47ECC},
    {"layer, options of a call", 0x0D62D054D054FEF2, 0xFA2B6AD7CDEC656C},
    {"layer, cache in chunks", 0x01222B159F68B4B7, 0xAF58EE311B4C8D5B},
    {"subnormals", 0x04A0B2D90EAD28C8, 0x05E6C2833E7270AB},
};

}  // namespace heed::bits
