// The digests of the corpus, as heed-bits --record prints them.
#pragma once

#include <cstdint>

namespace heed::bits {

inline constexpr int32_t kRecordedVersion = 2;

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
    {"matmul, 16-bit operands", 0x812DF7EB42DF561F, 0x5B11B1342A73C589},
    {"matmul, packed int8", 0x365EC75E3F8F81A7, 0xD73B122F129ED010},
    {"matmul, packed int4", 0x22DA89E1C7214BC5, 0x522DF340BFEF675A},
    {"matmul, int16", 0xA1292C5E551C69B1, 0xA1292C5E551C69B1},
    {"matmul, saved", 0x635ADCA86A395575, 0xA0B218CE60D4BBD9},
    {"matmul, GGUF blocks", 0xA37DD0BA0F7D1253, 0xAD1CF5C6D1F923FA},
    {"convert", 0xB8927797CAA33B40, 0xB8927797CAA33B40},
    {"quantize, int8", 0x0928837505549F80, 0x0928837505549F80},
    {"quantize, int4", 0xAAFD3216754E2041, 0xAAFD3216754E2041},
    {"hadamard", 0x7CACE50E4C4191E0, 0x7CACE50E4C4191E0},
    {"softmax", 0x22D5A7B4B1A283A9, 0xFB105966314D0198},
    {"exp2", 0xF8286A39AEF1CD59, 0x07F9CB2CE9FCB9B8},
    {"tanh", 0xAEC01380273601D9, 0xD6C8772140DAEA14},
    {"rope, half", 0xBEA565E6628F92CC, 0xF49594767FA8A4F2},
    {"rope, interleaved", 0x3FB54C3BAB3C0546, 0x95325393AF088164},
    {"rope, scaled", 0xE15074BE2145E958, 0x74F242734C1B0F1F},
    {"attention, head_dim 1 to 256", 0xB59032B2179B8966, 0x6926C224D533A28A},
    {"attention, grouped heads", 0xD5AA95626A9DEA5D, 0x6D3D0078299A6DBE},
    {"attention, any strides", 0x3D30447B07FA1911, 0x002F0DC9962146B8},
    {"attention, causal", 0x1243BC3FB7BCD7BE, 0x1683017FA7A1E994},
    {"attention, window", 0xEEE1A40110EC7770, 0xBCBFF7850BDC4D5F},
    {"attention, prefix_lens", 0x379EBC99668EFA37, 0x7005554276E54DE9},
    {"attention, kv_lens", 0xCF1010A8998FACB7, 0x6E1B3EAE5C396B6E},
    {"attention, key_mask", 0x47D73089EFCA103D, 0x1E05A857C31538D1},
    {"attention, boolean mask", 0xAB986B5294ED933F, 0x283E7CF786882520},
    {"attention, additive mask", 0x95D0FD579A0296CA, 0xC6A3D03490EFE355},
    {"attention, tree_mask", 0x1FAA855F119DD15B, 0x77F135ECDB670F7B},
    {"attention, scale and soft cap", 0xA7D6C3AEC34EDF1C, 0x660CC542624A74B3},
    {"attention, ALiBi", 0xD5A755980E7976E4, 0x7FD36F6E53E75A90},
    {"attention, sinks", 0xE161B0EE318D2F11, 0xFD21D1653B98F211},
    {"attention, dropout", 0x6435A63EDF8B001F, 0xCDEBB5E45B5A3D49},
    {"attention, weights and key_scores", 0x42AAC7C0D9FFC924, 0xCF5D92E3D6B15D79},
    {"attention, log-sum-exp", 0xEED5E9AFE85546AE, 0x0A44C6C82BFB4428},
    {"attention, rows that see nothing", 0xA81D215047D593D4, 0x3AE1BC368F389B88},
    {"attention, identical keys", 0x2D592ADA8440B107, 0x2E4C922A91AF8722},
    {"attention, large logits", 0x174038D5C10533D3, 0xA9B28F7B3E32706D},
    {"attention, packed batch", 0x3515CEE7F7230689, 0xAB6A82D6D0CCE299},
    {"attention, paged", 0x18458C69AC839E2A, 0x093DA3F054742909},
    {"attention, cache in chunks", 0xFB5AE97A7046020F, 0x5DE5141ED4C78FFF},
    {"attention, ring cache", 0xE1365C6E2D5D6FC0, 0x4C6E41F6F9F61917},
    {"attention, long keys", 0xD023BB2F57E68738, 0x97CF8B1FA95D6975},
    {"attention, parts merged", 0x5A81CCA59FEDF8D2, 0x8CA9D56C86E46DD2},
    {"attention, results merged", 0xFE093FFFFA012D4D, 0xFC56CF4FC7FFCF53},
    {"attention, options mixed", 0x8CE4CC0E4EC3BCBB, 0x5FFEEDEA7E1BD2BD},
    {"attention, 16-bit tensors", 0x7F4CDA465B333D9E, 0xD68D5DF0C6A4A6A9},
    {"attention, int8 and int4 tensors", 0xAEFA4D3BE5E6ADEA, 0x7949279E13915AD6},
    {"attention, cache of 16 bits", 0x7669996E05E2811E, 0xAB51F7448FA4BFBD},
    {"attention, cache of int8 and int4", 0x8A8F779B60FA65BC, 0xDFCE8F1D3F38C83E},
    {"attention, values in keys", 0xD62CD859C98B922F, 0x6D4AB157E4806263},
    {"attention, pages of stored types", 0xEDC416E5BFF6F6F0, 0x6449666FB197AE3B},
    {"attention, int16, tensors", 0xDB1B4B6797AB5A65, 0xEA6BEFCEA4A8267F},
    {"attention, int16, cache", 0x3FB6DB9F6B66F105, 0x0CC6BAB409FC2236},
    {"attention, int16, values in keys", 0x58830971D0ED2215, 0x524DAD94F4CD0AF9},
    {"attention, int16, pages", 0x34A514D43FE7CAE0, 0x281BC43060131591},
    {"layer", 0xFF1E5621FE155171, 0xF5A494CD32569C53},
    {"layer, norms", 0x20631CAADA0C0F15, 0xD4A5F60FB155CD08},
    {"layer, rope", 0x7823469D9A5368F7, 0x237DA06EC9B7D6A7},
    {"layer, options mixed", 0x0806275AF87018F6, 0xA3C9B9F4EBD9FB31},
    {"layer, options of a call", 0xEAB9D2090A11A005, 0xD4C59FE2B8E3B2AA},
    {"layer, cache in chunks", 0x5DF7CEE9AB55549F, 0x112BDF1EF59284C7},
    {"layer, stored weights and cache", 0x5C16F8B8EF828832, 0x17C560D8A96E5AB8},
    {"layer, Hadamard turn", 0x0F82A3401729E87B, 0x81E4AD03C614BE11},
    {"layer, in int16", 0xAD2CB008800B9AE5, 0x55849331713AC6B3},
    {"subnormals", 0xC28AE3CC58B0D7E1, 0x4AF89E12DC4708BD},
};

}  // namespace heed::bits
