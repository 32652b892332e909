package android.widget;

public abstract class AdapterView<T extends Adapter> extends android.view.ViewGroup {
    public interface OnItemSelectedListener {
        void onItemSelected(AdapterView<?> parent, android.view.View view, int position, long id);
        void onNothingSelected(AdapterView<?> parent);
    }
    public AdapterView(android.content.Context context, android.util.AttributeSet attrs) { super(context, attrs); }
    public abstract T getAdapter();
    public abstract void setAdapter(T adapter);
    public int getSelectedItemPosition() { return 0; }
    public void setOnItemSelectedListener(OnItemSelectedListener listener) { }
    public final OnItemSelectedListener getOnItemSelectedListener() { return null; }
}
