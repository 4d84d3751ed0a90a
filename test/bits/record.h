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
    {"matmul", 0x7338C4A873C12BAE, 0x162A58ED4AE278ED},
    {"matmul, any strides", 0xB9FE8465BA52E0D7, 0x74855861A641B466},
    {"matmul, packed", 0x6DB2ADB798DB940A, 0x69AEBF7668DFB091},
    {"matmul, packed f16 and bf16", 0x216A4EDB5C59C33A, 0x068054653800EE05},
    {"matmul, larger", 0x50A412DD50FFAF58, 0x6C51BC68993375A7},
    {"convert", 0xDE589F118CC9799C, 0xDE589F118CC9799C},
    {"softmax", 0x140F541625B0C7A0, 0x9FC4CE3F5DDFAE9D},
    {"exp", 0x08FD6CC4CACB3296, 0x2827A480A50B6F6F},
    {"tanh", 0x1B1D9B43A2917585, 0x7516A31E577D1C13},
    {"rope, half", 0xC1F9CD86EA866629, 0x985906B02E5EBAAC},
    {"rope, interleaved", 0x7B96F34B540E0F03, 0x58A3AEB64C6F48B2},
    {"rope, scaled", 0xE7DFE1AD94CA31FF, 0x017BEF15D8072FF4},
    {"attention, head_dim 1 to 256", 0x1D9F38B66F8DB9FC, 0x766FBC3AC28711F7},
    {"attention, grouped heads", 0xF6476D7AFCCD74A1, 0x6AE8A28AA50CB313},
    {"attention, any strides", 0xCF55B0E16DBA46A3, 0x5C92F37BEBB72ED4},
    {"attention, causal", 0x099DF2A0B0CF7CB4, 0xC4982C071EC79B03},
    {"attention, window", 0x85275F31CC714F95, 0x15318CAAE969477E},
    {"attention, prefix_lens", 0x1F66E8FD2D7672F1, 0x9C1D07D18DAF166B},
    {"attention, kv_lens", 0x0D62A4722A0A429F, 0x36FA790BD69492DC},
    {"attention, key_mask", 0xC9881729C2BED7F5, 0x62E6ACD57EC89E70},
    {"attention, boolean mask", 0x6CB63EE9B2E70C9D, 0x2957E7AAF7D7B120},
    {"attention, additive mask", 0x215584D4F354DF37, 0x8A34A045435B9AC9},
    {"attention, tree_mask", 0xC328741D86D90392, 0xBE75877E519C82FB},
    {"attention, scale and soft cap", 0x2D368788B2722E45, 0x1D787858979E0625},
    {"attention, ALiBi", 0x422AC29DC1A659F1, 0xDAF6F71E291200D6},
    {"attention, sinks", 0x2959032DEAB73C2A, 0x44E633ACDB474268},
    {"attention, dropout", 0xEECF11F202857024, 0x1EF637C673F75C05},
    {"attention, weights and key_scores", 0xE41D7410985308A8, 0x879CF8B2FBE752D0},
    {"attention, log-sum-exp", 0xE0494F01E2C99B5D, 0xDA71B93E2412C4E7},
    {"attention, rows that see nothing", 0xFFDC6E7060B0130B, 0x92ADE09D97657E04},
    {"attention, identical keys", 0x2275A3A75158404D, 0xFFBB3EE0B71CF456},
    {"attention, large logits", 0xC74FAA9473A4D7C7, 0x6B77A32301BE8EFF},
    {"attention, packed batch", 0xE49945F282CDECF1, 0x95233706215FEB6B},
    {"attention, paged", 0x1E4D5CCE2EB250AF, 0xADC8AFB9D2E12E05},
    {"attention, cache in chunks", 0x23DF88C9D925C879, 0x9482864A99B074A4},
    {"attention, ring cache", 0x6784FA30C788FF1D, 0xDE172BA61AD67BD0},
    {"attention, long keys", 0xC3A703CCD02A088D, 0xFD3E13C1E59BA5AB},
    {"attention, parts merged", 0x62CDF84FD03497E7, 0xA86A39A7FE404A16},
    {"attention, results merged", 0x48636111BA37F7B7, 0x68B7C6DA291A8C59},
    {"attention, options mixed", 0x1298797EEAFB9F78, 0xB01315DCC5B95B8B},
    {"layer", 0x8B9B043158D9D19D, 0x058207EE016D1CE2},
    {"layer, norms", 0x2F17DB997C6B2095, 0x4B386FC935E7299E},
    {"layer, rope", 0x7BA74472407B22D2, 0x0505C6456ACDA4B7},
    {"layer, options mixed", 0xD1F01A87D9C2165D, 0xB0A196A0F087F689},
    {"layer, cache in chunks", 0xD89343049EF9DBB5, 0x8FF30432B88BEAB9},
    {"subnormals", 0xA8B7F86D20B036B1, 0x20D75A68C6CCADA3},
};

}  // namespace heed::bits
