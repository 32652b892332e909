package com.google.android.gms.tasks;

public final class Tasks {
    public static <TResult> TResult await(Task<TResult> task)
        throws java.util.concurrent.ExecutionException, InterruptedException { return null; }
}
