import { queryClient } from '../../api/query-client';

/** After a change: what an administrator sees, and what the shop shows of it in this browser. */
export async function refresh() {
  await Promise.all(
    [['private'], ['products'], ['product'], ['categories']].map((queryKey) =>
      queryClient.invalidateQueries({ queryKey }),
    ),
  );
}
