// The values and structures of native/backend/cuda/cublaslt_api.h against the real header.
// Compiled, not run, by scripts/gpu_suite.sh where cublasLt.h is there:
//   c++ -std=c++17 -fsyntax-only -I CUDA/include test/gpu/cublaslt_values.cc
#include <cublasLt.h>

#include "../../native/backend/cuda/cublaslt_api.h"

namespace lt = stockpot::cuda::lt;

#define SAME(ours, theirs) static_assert(static_cast<long>(ours) == static_cast<long>(theirs))
SAME(lt::kSuccess, CUBLAS_STATUS_SUCCESS);
SAME(lt::kNotSupported, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(lt::kFloat32, CUDA_R_32F);
SAME(lt::kFloat16, CUDA_R_16F);
SAME(lt::kBFloat16, CUDA_R_16BF);
SAME(lt::kCompute32F, CUBLAS_COMPUTE_32F);
SAME(lt::kAsIs, CUBLAS_OP_N);
SAME(lt::kTransposed, CUBLAS_OP_T);
SAME(lt::kTransposeA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(lt::kTransposeB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(lt::kEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(lt::kBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(lt::kNoEpilogue, CUBLASLT_EPILOGUE_DEFAULT);
SAME(lt::kBias, CUBLASLT_EPILOGUE_BIAS);
SAME(lt::kMaxWorkspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(lt::kReductionSchemes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(lt::kAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(lt::kAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(lt::kAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(lt::kAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
SAME(lt::kNoReduction, CUBLASLT_REDUCTION_SCHEME_NONE);
SAME(lt::kReductionInComputeType, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
SAME(lt::kSplitK, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
SAME(lt::kReductionScheme, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
SAME(sizeof(lt::Algorithm), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(lt::Candidate), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(lt::Candidate, workspace), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(lt::Candidate, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
