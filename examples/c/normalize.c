/* RMS norm of a small matrix through the C ABI: views over your own memory, a launch, a plan that says what ran, and an
 * error that says what was wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spearfish/ops/norm.h"
#include "spearfish/plan.h"
#include "spearfish/version.h"

static void check(spf_status status) {
  if (status == SPF_OK) return;
  spf_error_detail detail;
  memset(&detail, 0, sizeof detail);
  detail.struct_size = sizeof detail;
  spf_last_error(&detail);
  fprintf(stderr, "%s: %s\n", spf_status_name(status), detail.message);
  exit(1);
}

int main(void) {
  enum { ROWS = 3, H = 8 };
  float x[ROWS * H], weight[H], out[ROWS * H];
  for (int i = 0; i < ROWS * H; ++i) x[i] = (float)(i % 5) - 1.5f;
  for (int i = 0; i < H; ++i) weight[i] = 1.0f + 0.125f * (float)i;

  const spf_device cpu = {SPF_CPU, 0};
  const int64_t matrix[2] = {ROWS, H}, row[1] = {H};
  spf_tensor x_view, weight_view, out_view;
  check(spf_tensor_init(&x_view, x, SPF_F32, 2, matrix, cpu));
  check(spf_tensor_init(&weight_view, weight, SPF_F32, 1, row, cpu));
  check(spf_tensor_init(&out_view, out, SPF_F32, 2, matrix, cpu));

  spf_launch launch;
  spf_plan* plan = NULL;
  check(spf_launch_init(&launch, cpu));
  launch.plan = &plan;
  check(spf_rms_norm(&x_view, &weight_view, &out_view, 1e-6, 0, &launch));

  spf_plan_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  check(spf_plan_describe(plan, &info));
  printf("%s\n%s ran as %s %s\n", spf_version_string(), info.op, info.kernel, info.instance);
  spf_plan_free(plan);

  double worst = 0;
  for (int r = 0; r < ROWS; ++r) {
    double sum = 0;
    for (int i = 0; i < H; ++i) sum += (double)x[r * H + i] * x[r * H + i];
    for (int i = 0; i < H; ++i) {
      const double expected = x[r * H + i] / sqrt(sum / H + 1e-6) * weight[i];
      worst = fmax(worst, fabs(expected - out[r * H + i]));
    }
  }
  printf("largest error against doubles: %.1e\n", worst);

  weight_view.shape[0] = H - 1;
  launch.plan = NULL;
  if (spf_rms_norm(&x_view, &weight_view, &out_view, 1e-6, 0, &launch) != SPF_INVALID_SHAPE) return 1;
  spf_error_detail detail;
  memset(&detail, 0, sizeof detail);
  detail.struct_size = sizeof detail;
  check(spf_last_error(&detail));
  printf("a wrong call is refused: %s\n", detail.message);
  return worst < 1e-5 ? 0 : 1;
}
