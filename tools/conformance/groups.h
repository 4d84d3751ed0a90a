// The groups of the corpus: each computes its problems on run.context and adds the results.
#pragma once

#include "tools/conformance/run.h"

namespace heed::bits {

void Matmul(Run& run);
void StridedMatmul(Run& run);
void PackedMatmul(Run& run);
void Packed16BitMatmul(Run& run);
void LargerMatmul(Run& run);

void Matmul16BitOperands(Run& run);
void PackedInt8Matmul(Run& run);
void PackedInt4Matmul(Run& run);
void Int16Matmul(Run& run);
void SavedMatmul(Run& run);
void Gguf(Run& run);

void Convert(Run& run);
void Softmax(Run& run);
void Exp2(Run& run);
void Tanh(Run& run);

void QuantizeInt8(Run& run);
void QuantizeInt4(Run& run);
void Hadamard(Run& run);

void RopeHalf(Run& run);
void RopeInterleaved(Run& run);
void RopeScaled(Run& run);

void HeadDims(Run& run);
void GroupedHeads(Run& run);
void AnyStrides(Run& run);
void Causal(Run& run);
void Window(Run& run);
void Prefix(Run& run);
void KvLens(Run& run);
void KeyMask(Run& run);
void BooleanMask(Run& run);
void AdditiveMask(Run& run);
void TreeMask(Run& run);
void ScaleAndSoftCap(Run& run);
void Alibi(Run& run);
void Sinks(Run& run);
void Dropout(Run& run);
void WeightsAndKeyScores(Run& run);
void Mixtures(Run& run);

void LogSumExp(Run& run);
void UnseenRows(Run& run);
void IdenticalKeys(Run& run);
void LargeLogits(Run& run);

void PackedBatch(Run& run);
void Paged(Run& run);
void Cache(Run& run);
void Ring(Run& run);

void LongKeys(Run& run);
void Parts(Run& run);
void MergedResults(Run& run);

void Tensors16Bit(Run& run);
void TensorsQuantized(Run& run);
void Cache16Bit(Run& run);
void CacheQuantized(Run& run);
void ValuesInKeys(Run& run);
void PagesStored(Run& run);
void Int16Tensors(Run& run);
void Int16Cache(Run& run);
void Int16ValuesInKeys(Run& run);
void Int16Pages(Run& run);

void Layer(Run& run);
void LayerNorms(Run& run);
void LayerRope(Run& run);
void LayerOptions(Run& run);
void LayerCallOptions(Run& run);
void LayerCache(Run& run);
void StoredLayer(Run& run);
void HadamardLayer(Run& run);
void Int16Layer(Run& run);

void Subnormals(Run& run);

}  // namespace heed::bits
